"""``gtzan``: 1,000 clips of 30 s in ten genres (Tzanetakis and Cook 2002).

Layout: ``{audio}/{genre}/{genre}.{five digits}.{wav or au}``. ``split=all`` lists all files, without official splits.
``split=filtered`` uses the lists ``{train,valid,test}_filtered.txt`` in ``lists`` (default: ``audio``) with one path
per line, 443 / 197 / 290 clips: without repeated, mislabelled and distorted clips, and artist-disjoint (Kereliuk et al.
2015, github.com/coreyker/dnn-mgr; the faults are those of Sturm 2013). The lists have ``.wav``; the files may have
another ``suffix``. Artists are unknown. In copies of the archive jazz.00054 is damaged. The sharding job keeps what it
can decode of a clip, reports clips far from 30 s, and quarantines what is not audio.
"""

from __future__ import annotations

import re

from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.corpora.cells import one_of, vocabulary_of
from genrescale.data.corpora.reading import read_lines
from genrescale.data.corpora.song_addresses import below, root_of
from genrescale.data.corpora.walking import is_audio, listed_files
from genrescale.storage.store import Store

LISTS = {"train": "train_filtered.txt", "validation": "valid_filtered.txt", "test": "test_filtered.txt"}
CLIP_S = 30.0
_CLIP = re.compile(r"(?P<genre>[a-z]+)/(?P=genre)\.(?P<number>\d{5})\.\w+")


def list_songs(audio: str, split: str = "all", lists: str = "", suffix: str = ".wav") -> tuple[list[Song], Vocabulary]:
    """List the clips, with one genre each.

    Raises FileNotFoundError for a missing folder or list, and ValueError if there are no clips of GTZAN and for a line
    of a list that is not the path of a clip.
    """
    one_of("split", split, ("all", "filtered"))
    store = Store(audio)
    songs = _filtered(root_of(store), Store(lists or audio), suffix) if split == "filtered" else _all(store)
    if not songs:
        raise ValueError(
            f"audio={audio} has no clip like blues/blues.00000.wav; give the folder that holds blues, classical, ..."
        )
    return songs, vocabulary_of([song.labels for song in songs], audio)


def _all(store: Store) -> list[Song]:
    root, paths = root_of(store), [path for path in listed_files(store)[0] if is_audio(path)]
    return [_song(match, f"{root}/{path}") for path in paths if (match := _CLIP.fullmatch(path))]


def _filtered(root: str, store: Store, suffix: str) -> list[Song]:
    songs = []
    for split, name in LISTS.items():
        lines = read_lines(store, name, remedy="name the folder with the three lists: +options.lists=...")
        for i, path in enumerate(lines, 1):
            if not (match := _CLIP.fullmatch(path)):
                raise ValueError(f"{store.uri}/{name}, row {i}: {path!r} is not a path like blues/blues.00029.wav")
            songs.append(_song(match, below(root, f"{path.rpartition('.')[0]}{suffix}"), split))
    return songs


def _song(clip: re.Match[str], address: str, split: str | None = None) -> Song:
    # the key has no suffix, because a clip is .au in the original archive and .wav in copies of it
    return Song(song_key(f"{clip['genre']}/{clip['number']}"), address, "", {clip["genre"]: 1.0}, split, CLIP_S)
