"""The plan of a sharded corpus: split, position and shard of every song.

It is fixed before any audio is read, and stored beside the shards (``plan_file``). Songs added later form a new
*generation* after the existing songs, so the nested order of a split only grows at its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np

from genrescale.audio import SPLITS, Song, Vocabulary
from genrescale.config import canonical_json
from genrescale.config.corpus import ShardSettings
from genrescale.data.quarantine import Rejected
from genrescale.data.sharding.splits import (
    ArtistOverlap,
    artist_overlap,
    assign_splits,
    divided_groups,
    nested_order,
)

HELD_OUT = "held out"
"""In place of a split for an added song that must not be trained on: its artist or group is in validation or test."""
_ORDER = (*SPLITS, HELD_OUT)
PLAN_PATH = "plan.parquet"


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """Songs sorted by split and shard, each with a value in ``split``, ``order``, ``generation`` and ``labels_NK``.

    ``order`` is the position in the split's nested order. ``generation`` is 0 for the initial songs, 1 for the first
    addition, and so on. HELD_OUT songs come last and are in no shard. ``rejected`` are rows of the corpus's tables
    without a song, ``decoders`` the versions of the decoders of all runs that wrote shards, and ``earlier_min_s`` what
    ``min_s`` was before it was changed; no digest depends on these.
    """

    songs: list[Song]
    labels_NK: np.ndarray
    split: list[str]
    order: np.ndarray
    generation: np.ndarray
    vocabulary: Vocabulary
    settings: ShardSettings
    rejected: tuple[Rejected, ...] = ()
    decoders: tuple[str, ...] = ()
    earlier_min_s: tuple[float, ...] = ()

    @property
    def num_held_out(self) -> int:
        return self.split.count(HELD_OUT)

    @property
    def overlap(self) -> ArtistOverlap | None:
        """The artist overlap of official splits; None if the splits are ours."""
        if not any(song.split for song in self.songs):
            return None
        num_used = len(self.songs) - self.num_held_out
        return artist_overlap(self.songs[:num_used], self.split[:num_used])

    @property
    def divided_groups(self) -> list[str]:
        """The groups that are in more than one split: none, unless the splits are official or older than the groups."""
        num_used = len(self.songs) - self.num_held_out
        return divided_groups(self.songs[:num_used], self.split[:num_used])

    def shards(self) -> list[tuple[str, str, slice]]:
        """List the shards: name, split and rows of each."""
        listed, size = [], self.settings.songs_per_shard
        start = 0
        for (split, generation), members in groupby(zip(self.split, self.generation.tolist(), strict=True)):
            end = start + len(list(members))
            added = f"-g{generation:03d}" if generation else ""
            for i, first in enumerate(range(start, end, size) if split != HELD_OUT else ()):
                listed.append((f"shards/{split}{added}-{i:06d}.tar", split, slice(first, min(first + size, end))))
            start = end
        return listed

    def earlier_digests(self, rows: slice) -> tuple[str, ...]:
        """The digests that these rows had with other values of ``min_s``, on which no song's samples depend."""
        return tuple(
            replace(self, settings=replace(self.settings, min_s=min_s)).digest(rows) for min_s in self.earlier_min_s
        )

    def digest(self, rows: slice) -> str:
        """SHA-256 of all that determines the bytes of a shard with these rows; not of paths, because files may move."""
        text = canonical_json(
            {
                "settings": self.settings.of_plan(),
                "vocabulary": self.vocabulary.to_json(),
                "songs": [[song.key, song.artist] for song in self.songs[rows]],
                "split": self.split[rows],
                "order": self.order[rows].tolist(),
            }
        )
        return hashlib.sha256(text.encode() + np.ascontiguousarray(self.labels_NK[rows]).tobytes()).hexdigest()


def make_plan(songs: Sequence[Song], vocabulary: Vocabulary, settings: ShardSettings) -> ShardPlan:
    """Assign splits, nested order and shards to a corpus, before any audio is read.

    Raises ValueError for an empty corpus, repeated keys, labels outside the vocabulary, and splits that cannot be made.
    """
    songs, labels_NK = checked(songs, vocabulary)
    split = assign_splits(songs, labels_NK, settings.val_fraction, settings.test_fraction, settings.seed)
    place = _places(np.array(split), labels_NK, settings.seed, {})
    return arranged(songs, labels_NK, np.array(split), place, np.zeros(len(songs), np.int64), vocabulary, settings)


def extend_plan(plan: ShardPlan, added: Sequence[Song]) -> ShardPlan:
    """Append ``added`` songs to a plan as its next generation, which continues the nested order of each split.

    If genrescale made the splits, validation and test do not change: new songs are added to train, or held out if their
    artist or group is in validation or test. Official splits are kept. Raises ValueError for songs that the plan
    already has, and if only the old or only the new songs have official splits.
    """
    added, labels_NK = checked([*added], plan.vocabulary)
    official = {song.split for song in plan.songs if song.split}
    for song in added:
        if bool(song.split) != bool(official):
            have = "an official split" if song.split else "no official split"
            raise ValueError(f"the added song {song.key} has {have}, unlike the songs before; give one to all or none")
    unknown = sorted({song.split for song in added if song.split} - set(SPLITS))
    if unknown:
        raise ValueError(f"splits {unknown} are none of {list(SPLITS)}")
    ours = set(plan.split) - official - {"train"}
    theirs = [song for song, split in zip(plan.songs, plan.split, strict=True) if split in ours]
    artists = {song.artist.casefold() for song in theirs} - {""}
    groups = {song.group.casefold() for song in theirs} - {""}
    split = [song.split or "train" for song in added]
    split = [
        HELD_OUT if s == "train" and (song.artist.casefold() in artists or song.group.casefold() in groups) else s
        for song, s in zip(added, split, strict=True)
    ]
    counts = {name: plan.split.count(name) for name in _ORDER}
    place = _places(np.array(split), labels_NK, plan.settings.seed, counts)
    generation = np.full(len(added), int(plan.generation.max()) + 1)
    return arranged(
        [*plan.songs, *added],
        np.concatenate([plan.labels_NK, labels_NK]),
        np.array([*plan.split, *split]),
        np.concatenate([plan.order, place]),
        np.concatenate([plan.generation, generation]),
        plan.vocabulary,
        plan.settings,
    )


def _places(split_N: np.ndarray, labels_NK: np.ndarray, seed: int, first: dict[str, int]) -> np.ndarray:
    """Return each song's position (N,) in the nested order of its split, starting at ``first``."""
    place = np.zeros(len(split_N), dtype=np.int64)
    for split in _ORDER:
        rows = np.flatnonzero(split_N == split)
        place[rows[nested_order(labels_NK[rows], seed)]] = first.get(split, 0) + np.arange(len(rows))
    return place


def checked(songs: Sequence[Song], vocabulary: Vocabulary) -> tuple[list[Song], np.ndarray]:
    """Sort songs by key, so that the plan does not depend on the order of the listing, and encode their labels.

    Raises ValueError for an empty list, a repeated key, and labels outside the vocabulary.
    """
    if not songs:
        raise ValueError("the corpus has no songs")
    songs = sorted(songs, key=lambda song: song.key)
    twice = [a for a, b in pairwise(songs) if a.key == b.key]
    if twice:
        raise ValueError(f"{len(twice)} songs are listed twice, the first is {twice[0].path} (key {twice[0].key})")
    labels_NK = np.empty((len(songs), len(vocabulary)), dtype=np.float32)
    for i, song in enumerate(songs):
        try:
            labels_NK[i] = vocabulary.encode(song.labels)
        except ValueError as error:
            raise ValueError(f"{song.path}: {error}") from None
    return songs, labels_NK


def arranged(
    songs: Sequence[Song],
    labels_NK: np.ndarray,
    split_N: np.ndarray,
    place: np.ndarray,
    generation: np.ndarray,
    vocabulary: Vocabulary,
    settings: ShardSettings,
) -> ShardPlan:
    """Sort songs with their split, position and generation into the rows of a plan."""
    # sort by integer codes: sorting a million names would take seconds
    code_of = np.array([_ORDER.index(name) for name in sorted(_ORDER)])
    split_code = code_of[np.searchsorted(sorted(_ORDER), split_N)]
    rows = np.lexsort((place, split_code))
    return ShardPlan(
        songs=[songs[i] for i in rows],
        labels_NK=labels_NK[rows],
        split=[_ORDER[code] for code in split_code[rows]],
        order=place[rows],
        generation=generation[rows],
        vocabulary=vocabulary,
        settings=settings,
    )
