"""``folder``: a folder of music with one subfolder per label.

Layout: ``{audio}/{label}/**/{song}.{ext}``. Every song has exactly one label, so the vocabulary is exclusive. Artists
are unknown: each song counts as its own artist.
"""

from __future__ import annotations

from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.corpora.reading import AUDIO_SUFFIXES, is_audio, listed_files, root_of
from genrescale.storage.store import Store


def list_songs(audio: str) -> tuple[list[Song], Vocabulary]:
    """List the songs in ``audio``, sorted by path. Hidden files and files without an audio suffix are ignored.

    Raises FileNotFoundError if the folder does not exist, and ValueError if no label folder contains a song.
    """
    store = Store(audio)
    root = root_of(store)
    paths = [path for path in listed_files(store) if "/" in path and is_audio(path)]
    songs = [Song(song_key(path), f"{root}/{path}", artist="", labels={path.split("/")[0]: 1.0}) for path in paths]
    if not songs:
        raise ValueError(f"audio={audio} has no song at LABEL/SONG.EXT with EXT one of {list(AUDIO_SUFFIXES)}")
    return songs, Vocabulary.of_classes([label for song in songs for label in song.labels], exclusive=True)
