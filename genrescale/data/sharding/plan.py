"""The plan of a sharded corpus: which song lies in which split, at which place, in which shard.

It is fixed before any audio is read (``plan_file`` keeps it beside the shards). Songs that are added later are a
*generation* of their own behind the songs that are there, so the nested order of a split only grows at its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby, pairwise

import numpy as np

from genrescale.audio import SPLITS, Song, Vocabulary
from genrescale.config import canonical_json
from genrescale.data.quarantine import Rejected
from genrescale.data.sharding.splits import ArtistOverlap, artist_overlap, assign_splits, nested_order

HELD_OUT = "held out"
"""In place of a split: an added song that may not be trained on, because its artist is validated or tested on."""
_ORDER = (*SPLITS, HELD_OUT)


PLAN_PATH = "plan.parquet"
SHARD_MB = 256
"""Megabytes of a shard where ``songs_per_shard`` is left open."""


class FailureBudgetError(RuntimeError):
    """More songs went to the quarantine than the settings allow."""


class CorpusChangedError(RuntimeError):
    """Somebody else wrote into a corpus while a job did."""


@dataclass
class ShardSettings:
    """How a corpus is sharded.

    ``val_fraction`` and ``test_fraction`` of the songs are held out where there are no official splits.
    ``songs_per_shard`` of 0 makes shards of about SHARD_MB, judged by a sample of the songs. ``max_s`` keeps the middle
    of longer songs (0: whole songs); songs under ``min_s`` are quarantined. More than ``max_failure_rate`` of the songs
    (and rejected rows) in quarantine stop the job; up to MIN_FAILURES never do, unless the rate is 0. Songs by URL come
    from public web servers only, unless ``allow_internal_urls``.
    """

    val_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 0
    songs_per_shard: int = 0
    max_s: float = 0.0
    min_s: float = 1.0
    max_failure_rate: float = 0.01
    allow_internal_urls: bool = False

    def __post_init__(self) -> None:
        for name in ("val_fraction", "test_fraction", "max_failure_rate"):
            if not 0.0 <= (value := getattr(self, name)) <= 1.0:
                raise ValueError(f"{name}={value} must be from 0 to 1")
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                f"val_fraction={self.val_fraction} and test_fraction={self.test_fraction} leave no song to train on"
            )
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must not be negative")
        if self.songs_per_shard < 0:
            raise ValueError(f"songs_per_shard={self.songs_per_shard} must be at least 1, or 0 to fit {SHARD_MB} MB")
        if not self.min_s >= 0.0:
            raise ValueError(f"min_s={self.min_s} must not be negative")
        if self.max_s != 0 and not self.max_s >= max(self.min_s, 1e-3):
            raise ValueError(f"max_s={self.max_s} must be 0 (whole songs) or at least min_s={self.min_s}")

    def of_plan(self) -> dict[str, float]:
        """The settings that decide what lies in the shards: not what may fail, nor where songs may come from."""
        names = {field.name for field in fields(ShardSettings)} - {"max_failure_rate", "allow_internal_urls"}
        return {name: value for name, value in asdict(self).items() if name in names}


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """Songs in the order of splits and shards: song i has ``split[i]``, ``order[i]`` in it, and ``labels_NK[i]``.

    ``generation`` (N,) is 0 for the songs that the corpus began with, then 1 for the first addition. Songs that are
    HELD_OUT come last, and no shard holds them. ``rejected`` are rows of the corpus' tables that give no song, and
    ``decoders`` the versions of the decoders of all runs that wrote shards; no digest depends on either.
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

    @property
    def num_held_out(self) -> int:
        return self.split.count(HELD_OUT)

    @property
    def overlap(self) -> ArtistOverlap | None:
        """What official splits share, None where the splits are ours."""
        if not any(song.split for song in self.songs):
            return None
        num_used = len(self.songs) - self.num_held_out
        return artist_overlap(self.songs[:num_used], self.split[:num_used])

    def shards(self) -> list[tuple[str, str, slice]]:
        """Per shard its name, its split and its rows."""
        found, size = [], self.settings.songs_per_shard
        start = 0
        for (split, generation), members in groupby(zip(self.split, self.generation.tolist(), strict=True)):
            end = start + len(list(members))
            added = f"-g{generation:03d}" if generation else ""
            for i, first in enumerate(range(start, end, size) if split != HELD_OUT else ()):
                found.append((f"shards/{split}{added}-{i:06d}.tar", split, slice(first, min(first + size, end))))
            start = end
        return found

    def digest(self, rows: slice) -> str:
        """SHA-256 of what decides the bytes of a shard with these rows (never of paths: music may move)."""
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
    """Splits, nested order and shards of a corpus, before any audio is read.

    Raises ValueError for an empty corpus, repeated keys, labels outside the vocabulary, and impossible splits.
    """
    songs, labels_NK = checked(songs, vocabulary)
    split = assign_splits(songs, labels_NK, settings.val_fraction, settings.test_fraction, settings.seed)
    place = _places(np.array(split), labels_NK, settings.seed, {})
    return arranged(songs, labels_NK, np.array(split), place, np.zeros(len(songs), np.int64), vocabulary, settings)


def extend_plan(plan: ShardPlan, added: Sequence[Song]) -> ShardPlan:
    """The plan with ``added`` songs as its next generation, each split's nested order going on where it ends.

    Validation and test songs stay what they are where genrescale chose them: new songs are trained on, or held out
    where their artist is validated or tested on. Official splits are kept. Raises ValueError for songs that are there
    already, and where official splits are given for one part of the songs only.
    """
    added, labels_NK = checked([*added], plan.vocabulary)
    official = {song.split for song in plan.songs if song.split}
    for song in added:
        if bool(song.split) != bool(official):
            have = "an official split" if song.split else "no official split"
            raise ValueError(f"the added song {song.key} has {have}, unlike the songs before; give one to all, or none")
    unknown = sorted({song.split for song in added if song.split} - set(SPLITS))
    if unknown:
        raise ValueError(f"splits {unknown} are none of {list(SPLITS)}")
    ours = set(plan.split) - official - {"train"}
    theirs = {s.artist for s, split in zip(plan.songs, plan.split, strict=True) if split in ours and s.artist}
    split = [song.split or "train" for song in added]
    split = [HELD_OUT if s == "train" and song.artist in theirs else s for song, s in zip(added, split, strict=True)]
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
    """(N,) the place of every song in its split's nested order, which begins at ``first``."""
    place = np.zeros(len(split_N), dtype=np.int64)
    for split in _ORDER:
        rows = np.flatnonzero(split_N == split)
        place[rows[nested_order(labels_NK[rows], seed)]] = first.get(split, 0) + np.arange(len(rows))
    return place


def checked(songs: Sequence[Song], vocabulary: Vocabulary) -> tuple[list[Song], np.ndarray]:
    """The songs by key, so that the plan does not depend on the order in which they were listed, and their labels.

    Raises ValueError for no songs, a key that is there twice, and labels that the vocabulary lacks.
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
    """Songs with their split, place and generation, sorted into the rows of a plan."""
    # as numbers: sorting a million names would take seconds
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
