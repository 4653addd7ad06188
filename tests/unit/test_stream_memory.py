"""What one read task allocates is bounded: its audio, and of a bucket the groups that are fetched at once. No Ray."""

from __future__ import annotations

import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from helpers.one_song import GROUP, source_in

from genrescale.audio import SAMPLE_RATE
from genrescale.data import stream

CROP_S = 15
FETCHED_BYTES = stream.FAR_GROUPS_AT_ONCE * GROUP * (CROP_S + 1) * SAMPLE_RATE * 2  # crops widened to whole seconds
SLACK_BYTES = 4 << 20


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
    source = source_in(uri, CROP_S)
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
