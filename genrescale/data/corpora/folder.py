"""``folder``: a folder of music with one subfolder per label.

Layout: ``{audio}/{label}/**/{song}.{ext}``. Every song has exactly one label, so the vocabulary is exclusive. Artists
are unknown: each song counts as its own artist.
"""

from __future__ import annotations

from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.corpora.cells import one_form
from genrescale.data.corpora.listing import Listing
from genrescale.data.corpora.song_addresses import root_of
from genrescale.data.corpora.walking import AUDIO_SUFFIXES, first_names, listed_files, songs_among
from genrescale.display.text import count_text
from genrescale.storage.store import Store

LOOSE = "songs beside the label folders"


def list_songs(audio: str) -> tuple[list[Song], Vocabulary]:
    """List the songs in ``audio``, sorted by path.

    Raises FileNotFoundError if the folder does not exist, and ValueError if no label folder contains a song.
    """
    return read_listing(audio).strict()


def read_listing(audio: str) -> Listing:
    """List the songs in ``audio``, sorted by path, and the files that are passed over.

    Raises FileNotFoundError if the folder does not exist, and ValueError if no label folder contains a song.
    """
    store = Store(audio)
    root = root_of(store)
    files, passed = listed_files(store)
    found = songs_among(files, passed)
    passed.add(LOOSE, *(path for path in found if "/" not in path))
    paths = [path for path in found if "/" in path]
    songs = [
        Song(song_key(path), f"{root}/{path}", artist="", labels={one_form(path.split("/")[0]): 1.0}) for path in paths
    ]
    passed.songs = len(songs)
    if not songs:
        there = "".join(f"; {line}" for line in passed.lines())
        raise ValueError(f"audio={audio} has no song at LABEL/SONG.EXT with EXT one of {list(AUDIO_SUFFIXES)}{there}")
    known = {path.split("/")[0] for path in paths} | {name for names in passed.names.values() for name in names}
    empty = [name for name in store.folders() if name not in known and not name.startswith(".")]
    lacking = (
        f"{count_text(len(empty), 'folder')} without a song, so the corpus lacks their labels: {first_names(empty)}"
    )
    vocabulary = Vocabulary.of_classes([label for song in songs for label in song.labels], exclusive=True)
    return Listing(songs, vocabulary, passed=passed, notes=(lacking,) if empty else ())
