"""The plan of a sharded corpus: which song lies in which split, at which place, in which shard.

It is fixed before any audio is read and kept as ``plan.parquet`` beside the shards, so that a run that continues knows
what was begun, and refuses to continue with something else.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from genrescale.audio import Song, Vocabulary
from genrescale.config import canonical_json
from genrescale.data.splits import SPLITS, ArtistOverlap, artist_overlap, assign_splits, nested_order
from genrescale.data.store import Store

PLAN_PATH = "plan.parquet"
QUARANTINE_PATH = "quarantine.parquet"
_META = b"genrescale"


class FailureBudgetError(RuntimeError):
    """More songs went to the quarantine than the settings allow."""


@dataclass
class ShardSettings:
    """How a corpus is sharded.

    ``val_fraction`` and ``test_fraction`` of the songs are held out where there are no official splits. ``max_s`` keeps
    the middle of longer songs (0: whole songs); songs under ``min_s`` are quarantined. More than ``max_failure_rate``
    of the songs in quarantine stop the job; up to MIN_FAILURES never do, unless the rate is 0.
    """

    val_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 0
    songs_per_shard: int = 256
    max_s: float = 0.0
    min_s: float = 1.0
    max_failure_rate: float = 0.01

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
        if self.songs_per_shard < 1:
            raise ValueError(f"songs_per_shard={self.songs_per_shard} must be at least 1")
        if not self.min_s >= 0.0:
            raise ValueError(f"min_s={self.min_s} must not be negative")
        if self.max_s != 0 and not self.max_s >= max(self.min_s, 1e-3):
            raise ValueError(f"max_s={self.max_s} must be 0 (whole songs) or at least min_s={self.min_s}")

    def of_plan(self) -> dict[str, float]:
        """The settings that decide what lies in the shards; the failure budget does not."""
        names = {field.name for field in fields(ShardSettings)} - {"max_failure_rate"}
        return {name: value for name, value in asdict(self).items() if name in names}


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """Songs in the order of splits and shards: song i has ``split[i]``, ``order[i]`` in it, and ``labels_NK[i]``.

    ``overlap`` is what official splits share, None where the splits are ours.
    """

    songs: list[Song]
    labels_NK: np.ndarray
    split: list[str]
    order: np.ndarray
    vocabulary: Vocabulary
    settings: ShardSettings

    @property
    def overlap(self) -> ArtistOverlap | None:
        return artist_overlap(self.songs, self.split) if any(song.split for song in self.songs) else None

    def shards(self) -> list[tuple[str, str, slice]]:
        """Per shard its name, its split and its rows."""
        found, size = [], self.settings.songs_per_shard
        start = 0
        for split, members in groupby(self.split):
            end = start + len(list(members))
            for i, first in enumerate(range(start, end, size)):
                found.append((f"shards/{split}-{i:06d}.tar", split, slice(first, min(first + size, end))))
            start = end
        return found

    def digest(self, rows: slice) -> str:
        """SHA-256 of what decides the bytes of a shard with these rows (never of paths: music may move)."""
        text = canonical_json(
            {
                "settings": self.settings.of_plan(),
                "songs": [[s.key, s.artist, dict(s.labels)] for s in self.songs[rows]],
                "split": self.split[rows],
                "order": self.order[rows].tolist(),
            }
        )
        return hashlib.sha256(text.encode()).hexdigest()


def make_plan(songs: Sequence[Song], vocabulary: Vocabulary, settings: ShardSettings) -> ShardPlan:
    """Splits, nested order and shards of a corpus, before any audio is read.

    Raises ValueError for an empty corpus, repeated keys, labels outside the vocabulary, and impossible splits.
    """
    songs, labels_NK = _checked(songs, vocabulary)
    split_N = np.array(assign_splits(songs, labels_NK, settings.val_fraction, settings.test_fraction, settings.seed))
    place = np.zeros(len(songs), dtype=np.int64)
    for split in SPLITS:
        rows = np.flatnonzero(split_N == split)
        place[rows[nested_order(labels_NK[rows], settings.seed)]] = np.arange(len(rows))
    return _arranged(songs, labels_NK, split_N, place, vocabulary, settings)


def _checked(songs: Sequence[Song], vocabulary: Vocabulary) -> tuple[list[Song], np.ndarray]:
    """The songs by key, so that the plan does not depend on the order in which they were listed."""
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


def _arranged(
    songs: list[Song],
    labels_NK: np.ndarray,
    split_N: np.ndarray,
    place: np.ndarray,
    vocabulary: Vocabulary,
    settings: ShardSettings,
) -> ShardPlan:
    split_code = np.array([SPLITS.index(split) for split in split_N.tolist()])
    rows = np.lexsort((place, split_code))
    split = [SPLITS[s] for s in split_code[rows]]
    return ShardPlan([songs[i] for i in rows], labels_NK[rows], split, place[rows], vocabulary, settings)


def fix_plan(songs: Sequence[Song], vocabulary: Vocabulary, settings: ShardSettings, out: Store) -> ShardPlan:
    """The plan that ``out`` was begun with, or a new one, now written there.

    A plan that was begun is kept as it is, also where another machine or version would break ties otherwise. Raises
    ValueError that says what changed where the songs, labels or settings are not those of the begun plan.
    """
    if not out.exists(PLAN_PATH):
        if out.list("shards"):
            raise ValueError(f"{out.uri} holds shards but no {PLAN_PATH}; choose an empty folder for out")
        plan = make_plan(songs, vocabulary, settings)
        out.write_bytes(PLAN_PATH, _plan_bytes(plan, {song.key: song.split for song in songs}))
        return plan
    table = pq.read_table(io.BytesIO(out.read_bytes(PLAN_PATH)))
    songs, labels_NK = _checked(songs, vocabulary)
    changes = _changes(table, songs, labels_NK, vocabulary, settings)
    if changes:
        raise ValueError(
            f"{out.uri} was begun with another plan: {'; '.join(changes)}. "
            f"Go back to it, choose another folder for out, or delete {out.uri} to start over"
        )
    row_of = {key: i for i, key in enumerate(table["key"].to_pylist())}
    rows = np.array([row_of[song.key] for song in songs])
    split_N, place = table["split"].to_numpy()[rows], table["order"].to_numpy()[rows]
    return _arranged(songs, labels_NK, split_N, place, vocabulary, settings)


def _plan_bytes(plan: ShardPlan, official: dict[str, str | None]) -> bytes:
    meta = {"settings": plan.settings.of_plan(), "vocabulary": plan.vocabulary.to_json()}
    labels = pa.FixedSizeListArray.from_arrays(pa.array(plan.labels_NK.ravel()), len(plan.vocabulary))
    columns = {
        "key": pa.array([song.key for song in plan.songs], pa.string()),
        "artist": pa.array([song.artist for song in plan.songs], pa.string()),
        "official": pa.array([official[song.key] for song in plan.songs], pa.string()),
        "split": pa.array(plan.split, pa.string()),
        "order": pa.array(plan.order, pa.int64()),
        "labels": labels,
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, metadata={_META: json.dumps(meta, sort_keys=True)}), sink)
    return sink.getvalue()


def _changes(
    table: pa.Table, songs: list[Song], labels_NK: np.ndarray, vocabulary: Vocabulary, settings: ShardSettings
) -> list[str]:
    """What is not as in the begun plan, in words."""
    meta = json.loads(table.schema.metadata[_META])
    now = settings.of_plan()
    changes = [
        f"{name} was {value} and is {now[name]}" for name, value in meta["settings"].items() if value != now[name]
    ]
    begun = Vocabulary.from_json(meta["vocabulary"])
    if begun != vocabulary:
        gone, new = set(begun.names) - set(vocabulary.names), set(vocabulary.names) - set(begun.names)
        return [*changes, f"the tags differ (no longer there: {sorted(gone)[:5]}; new: {sorted(new)[:5]})"]
    row_of = {key: i for i, key in enumerate(table["key"].to_pylist())}
    added = [song.key for song in songs if song.key not in row_of]
    removed = sorted(row_of.keys() - {song.key for song in songs})
    for word, keys in (("added", added), ("no longer listed", removed)):
        if keys:
            changes.append(f"{len(keys)} of {table.num_rows} songs {word}, the first is {keys[0]}")
    kept = [(i, row_of[song.key]) for i, song in enumerate(songs) if song.key in row_of]
    if kept:
        here, there = np.array(kept).T
        changes += _field_changes(table.take(there), [songs[i] for i in here], labels_NK[here])
    return changes


def _field_changes(begun: pa.Table, songs: list[Song], labels_NK: np.ndarray) -> list[str]:
    """``begun`` and ``songs`` are the same songs in the same order."""
    begun_NK = begun["labels"].combine_chunks().flatten().to_numpy().reshape(labels_NK.shape)
    differs = {
        "labels": (begun_NK != labels_NK).any(axis=1),
        "artist": np.array([a != song.artist for a, song in zip(begun["artist"].to_pylist(), songs, strict=True)]),
        "official split": np.array([a != s.split for a, s in zip(begun["official"].to_pylist(), songs, strict=True)]),
    }
    return [
        f"{int(mask.sum())} songs have another {field}, the first is {songs[int(mask.argmax())].key}"
        for field, mask in differs.items()
        if mask.any()
    ]
