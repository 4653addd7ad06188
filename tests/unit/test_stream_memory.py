"""What one read task allocates is bounded: its audio, and of a bucket the groups that are fetched at once. No Ray."""

from __future__ import annotations

import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from genrescale.audio import SAMPLE_RATE
from genrescale.data import stream
from genrescale.data.crops import SongTable
from genrescale.data.index import second_checksums
from genrescale.data.plan import RunPlan, ScorePlan, TrainPlan
from genrescale.data.samplers import Uniform
from genrescale.data.source import StreamSource
from genrescale.data.store import Store

SONG_S, CROP_S, GROUP, NUM_SONGS = 30, 15, 32, 512
FETCHED_BYTES = stream.FAR_GROUPS_AT_ONCE * GROUP * (CROP_S + 1) * SAMPLE_RATE * 2  # crops widened to whole seconds
SLACK_BYTES = 4 << 20


def source_in(uri: str) -> StreamSource:
    """One shard with one song, under the names of many."""
    pcm = np.random.default_rng(0).integers(-(2**15), 2**15, SONG_S * SAMPLE_RATE, np.int16).tobytes()
    Store(uri).write_bytes("shards/0.tar", pcm)
    zeros = np.zeros(NUM_SONGS, np.int64)
    table = SongTable(
        store=Store(uri),
        shard_names=("shards/0.tar",),
        keys=pa.array([f"song{i}" for i in range(NUM_SONGS)]),
        shard_N=zeros,
        offset_N=zeros,
        len_N=np.full(NUM_SONGS, SONG_S * SAMPLE_RATE),
        crc_N=zeros,
        crc32=second_checksums(pcm),
        labels_NK=np.zeros((NUM_SONGS, 1), np.float32),
        part_N=zeros,
    )
    train = TrainPlan(table.len_N, 0, GROUP, GROUP, CROP_S * SAMPLE_RATE, Uniform(NUM_SONGS))
    score = ScorePlan(table.len_N[:2], CROP_S * SAMPLE_RATE, "consecutive", "validation")
    return StreamSource({"train": table, "validation": table, "test": table}, RunPlan(train, score, 99, 99), score)


@pytest.fixture
def pool() -> Iterator[pa.MemoryPool]:
    """Arrow's allocations of one test, which must not outlive it."""
    default = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(default)
    pa.set_memory_pool(pool)
    yield pool
    pa.set_memory_pool(default)


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_read_task_allocates_its_audio_and_what_is_on_its_way(
    place: str, tmp_path: Path, pool: pa.MemoryPool, monkeypatch: pytest.MonkeyPatch
):
    uri = str(tmp_path) if place == "folder" else f"memory://{uuid.uuid4().hex}"
    source = source_in(uri)
    assert source.is_local == (place == "folder")
    monkeypatch.setattr(stream, "_shared_source", lambda reference: source)
    ids = list(source.plan.items(0, 1))[: stream._groups_per_task(source)]
    reference: Any = None
    stream._read_groups(reference, ids[:1])  # what is imported and cached once
    tracemalloc.start()
    try:
        [table] = stream._read_groups(reference, ids)
        peak = (pool.max_memory() or 0) + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    audio = len(ids) * GROUP * CROP_S * SAMPLE_RATE * 2
    assert 0.8 * stream.TASK_BYTES < audio <= table.nbytes <= peak
    assert peak <= stream.TASK_BYTES + SLACK_BYTES + (0 if place == "folder" else FETCHED_BYTES)
