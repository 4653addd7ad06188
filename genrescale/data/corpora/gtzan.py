"""GTZAN: 1,000 clips of 30 s in ten genres (Tzanetakis and Cook 2002).

Layout: ``{audio}/{genre}/{genre}.{five digits}.{wav or au}``. ``split=all`` lists what is there, without official
splits; ``split=filtered`` takes the lists ``{train,valid,test}_filtered.txt`` in ``lists`` (default: ``audio``), 443 /
197 / 290 clips with one path per line: repeated, mislabelled and distorted clips are left out, and artists are not
shared (Kereliuk et al. 2015, github.com/coreyker/dnn-mgr; the faults are those of Sturm 2013). The lists say ``.wav``;
the files may have another ``suffix``. Artists are unknown. In copies of the archive jazz.00054 is damaged: the sharding
job keeps what can be decoded of a clip, names one that is far from 30 s, and quarantines what is not audio.
"""

from __future__ import annotations

import re

from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.corpora.reading import below, is_audio, listed_files, one_of, read_lines, root_of, vocabulary_of
from genrescale.storage.store import Store

LISTS = {"train": "train_filtered.txt", "validation": "valid_filtered.txt", "test": "test_filtered.txt"}
CLIP_S = 30.0
_CLIP = re.compile(r"(?P<genre>[a-z]+)/(?P=genre)\.(?P<number>\d{5})\.\w+")


def list_songs(audio: str, split: str = "all", lists: str = "", suffix: str = ".wav") -> tuple[list[Song], Vocabulary]:
    """The clips, one genre each.

    Raises FileNotFoundError where a folder or list is missing, ValueError where nothing is a clip of GTZAN and for a
    line of a list that is no path of a clip.
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
    root, paths = root_of(store), [path for path in listed_files(store) if is_audio(path)]
    return [_song(found, f"{root}/{path}") for path in paths if (found := _CLIP.fullmatch(path))]


def _filtered(root: str, store: Store, suffix: str) -> list[Song]:
    songs = []
    for split, name in LISTS.items():
        lines = read_lines(store, name, remedy="name the folder with the three lists: +options.lists=...")
        for i, path in enumerate(lines, 1):
            if not (found := _CLIP.fullmatch(path)):
                raise ValueError(f"{store.uri}/{name}, row {i}: {path!r} is no path like blues/blues.00029.wav")
            songs.append(_song(found, below(root, f"{path.rpartition('.')[0]}{suffix}"), split))
    return songs


def _song(clip: re.Match[str], address: str, split: str | None = None) -> Song:
    # the key leaves the suffix out: the same clip is .au in the original archive and .wav in copies of it
    return Song(song_key(f"{clip['genre']}/{clip['number']}"), address, "", {clip["genre"]: 1.0}, split, CLIP_S)
