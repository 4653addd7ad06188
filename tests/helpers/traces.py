"""What streams delivered, as rows that can be compared byte for byte; and a corpus of ten thousand short songs."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from genrescale.audio import SAMPLE_BYTES, SAMPLE_RATE
from genrescale.data.reading.crops import SongTable
from genrescale.data.reading.plan import Crops, GroupId, RunPlan, ScorePlan, TrainPlan
from genrescale.data.reading.samplers import Sampler, Uniform
from genrescale.data.reading.source import CropGroup, StreamSource
from genrescale.storage.store import Store

NUM_SONGS = 10_000
CROP = 800  # samples
BATCH, GROUP = 256, 32  # eight groups to a step
SONGS_PER_SHARD = 1_000


def ten_thousand_songs(folder: Path) -> SongTable:
    """Noise of 50 to 150 ms: files that look like shards to a reader of crops."""
    rng = np.random.default_rng(7)
    len_N = rng.integers(CROP, 3 * CROP, NUM_SONGS)
    shard_N = np.arange(NUM_SONGS) // SONGS_PER_SHARD
    offset_N, crc32 = np.zeros(NUM_SONGS, np.int64), np.zeros(NUM_SONGS, np.uint32)
    names = tuple(f"shard-{shard}.tar" for shard in range(NUM_SONGS // SONGS_PER_SHARD))
    for shard, name in enumerate(names):
        data = bytearray()
        for song in np.flatnonzero(shard_N == shard):
            data += bytes(512)
            pcm = rng.integers(-(2**15), 2**15, len_N[song], np.int16).tobytes()
            offset_N[song], crc32[song] = len(data), zlib.crc32(pcm)
            data += pcm
        (folder / name).write_bytes(data)
    assert len_N.max() <= SAMPLE_RATE  # one checksum to a song
    return SongTable(
        store=Store(str(folder)),
        shard_names=names,
        keys=pa.array([f"song{i:05d}" for i in range(NUM_SONGS)]),
        shard_N=shard_N,
        offset_N=offset_N,
        len_N=len_N,
        crc_N=np.arange(NUM_SONGS),
        crc32=crc32,
        labels_NK=np.zeros((NUM_SONGS, 1), np.float32),
        part_N=np.zeros(NUM_SONGS, np.int64),
    )


def plan_of(len_N: np.ndarray, max_steps: int, seed: int = 3, sampler: Sampler | None = None) -> RunPlan:
    """Without validation before the end, which has its own tests."""
    validation = ScorePlan(len_N[:2], CROP, "consecutive", "validation")
    return RunPlan(
        TrainPlan(len_N, seed, BATCH, GROUP, CROP, sampler or Uniform(len(len_N))),
        validation,
        max_steps,
        10 * max_steps,
    )


@dataclass(frozen=True, eq=False)
class DelayedSource(StreamSource):
    """Some groups take long to read: tasks end in another order than they began.

    ``noted_in`` is a folder that gets a file for each group that was read.
    """

    longest_s: float = 0.0
    noted_in: str = ""

    def crops(self, id: GroupId) -> Crops:
        if self.longest_s and (id.step + id.group) % 5 == 0:
            time.sleep(self.longest_s * ((7 * id.step + id.group) % 11) / 10)
        if self.noted_in:
            Path(self.noted_in, f"{id.step}-{id.group}").touch()
        return super().crops(id)


def train_items(plan: RunPlan, rank: int, workers: int, start: int = 0, stop: int = 10**9) -> Iterable[GroupId]:
    """The training groups of one worker in the steps from ``start`` to before ``stop``."""
    return (id for id in plan.items(rank, workers, start) if id.kind == "train" and id.step < stop)


def planned_rows(plan: RunPlan, ids: Iterable[GroupId]) -> np.ndarray:
    return _rows(plan, [plan.crops(id) for id in ids])


def delivered_rows(plan: RunPlan, groups: Iterable[CropGroup]) -> np.ndarray:
    return _rows(plan, groups)


def _rows(plan: RunPlan, groups: Iterable[Crops | CropGroup]) -> np.ndarray:
    """(n, 5) int64: epoch, step, group, song, offset of the crop in samples."""
    rows = [
        np.column_stack(
            [np.tile([plan.train.epoch(g.id.step), g.id.step, g.id.group], (len(g), 1)), g.songs_n, g.starts_n]
        )
        for g in groups
    ]
    return np.concatenate([np.zeros((0, 5), np.int64), *rows])


def merged(parts: Sequence[np.ndarray]) -> bytes:
    """The workers' traces as one: by step and group, in a group as delivered."""
    rows = np.concatenate(parts)
    return rows[np.lexsort((rows[:, 2], rows[:, 1]))].tobytes()


def audio_is_right(table: SongTable, group: CropGroup) -> bool:
    """Whether every clip is what the shard's file holds at its place."""
    for wave_T, song, start in zip(group.wave_nT, group.songs_n, group.starts_n, strict=True):
        path = table.store.local_path(table.shard_names[table.shard_N[song]])
        there_T = np.fromfile(
            str(path),
            "<i2",
            min(CROP, int(table.len_N[song] - start)),
            offset=int(table.offset_N[song]) + start * SAMPLE_BYTES,
        )
        if not np.array_equal(wave_T[: len(there_T)], there_T) or wave_T[len(there_T) :].any():
            return False
    return True
