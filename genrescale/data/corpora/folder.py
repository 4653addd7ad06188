"""A folder of music as a corpus: one folder per label.

Layout: ``{audio}/{label}/**/{song}.{ext}``. Every song has exactly one label, so the vocabulary is exclusive. The
artists are unknown: each song is its own artist.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.store import Store

AUDIO_SUFFIXES = (
    *(".aac", ".aif", ".aiff", ".au", ".flac", ".m4a", ".mka", ".mp2", ".mp3"),
    *(".mp4", ".oga", ".ogg", ".opus", ".wav", ".webm", ".wma", ".wv"),
)


def source_path(store: Store, path: str) -> str:
    """The address of a file of ``store`` that any process can open, whatever its working folder."""
    local = store.local_path(path)
    return str(local) if local is not None else f"{store.uri.rstrip('/')}/{path}"


def list_songs(audio: str) -> tuple[list[Song], Vocabulary]:
    """The songs under ``audio``, sorted by path. Hidden files and files without an audio suffix are passed over.

    Raises FileNotFoundError where there is no such folder, ValueError where no label folder holds a song.
    """
    store = Store(audio)
    if not store.exists():
        raise FileNotFoundError(f"audio={audio} does not exist")
    songs = []
    for path in store.list():
        parts = PurePosixPath(path).parts
        hidden = any(part.startswith(".") for part in parts)
        if len(parts) < 2 or hidden or PurePosixPath(path).suffix.lower() not in AUDIO_SUFFIXES:
            continue
        songs.append(Song(song_key(path), source_path(store, path), artist="", labels={parts[0]: 1.0}))
    if not songs:
        raise ValueError(f"audio={audio} has no song at LABEL/SONG.EXT with EXT one of {list(AUDIO_SUFFIXES)}")
    return songs, Vocabulary.of_classes([label for song in songs for label in song.labels], exclusive=True)
