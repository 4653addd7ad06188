"""The plan through real Ray Data streams: on 1, 2 and 8 consumers, late tasks included, delivered exactly once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
from helpers.small_corpus import flip
from helpers.traces import (
    CROP,
    DelayedSource,
    audio_is_right,
    delivered_rows,
    merged,
    plan_of,
    planned_rows,
    ten_thousand_songs,
    train_items,
)
from ray.data._internal.execution.streaming_executor import StreamingExecutor
from ray.exceptions import RayError

from genrescale.audio import Split
from genrescale.data import pacing, stream
from genrescale.data.pacing import StalledStreamError
from genrescale.data.reading.crops import SongTable
from genrescale.data.reading.plan import ScorePlan
from genrescale.data.stream import GroupStream

pytestmark = pytest.mark.cluster
STEPS = 44  # an epoch and the beginning of the next


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SongTable:
    return ten_thousand_songs(tmp_path_factory.mktemp("songs"))


@pytest.fixture(autouse=True)
def many_small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tasks and several datasets for every consumer, though the songs are short."""
    monkeypatch.setattr(stream, "TASK_BYTES", 4 * 32 * CROP * 2)
    monkeypatch.setattr(stream, "CHAIN_TASKS", 25)


def source_of(table: SongTable, longest_s: float = 0.0, noted_in: str = "") -> DelayedSource:
    tables: dict[Split, SongTable] = {"train": table, "validation": table, "test": table}
    test = ScorePlan(table.len_N[:2], CROP, "consecutive", "test")
    return DelayedSource(tables, plan_of(table.len_N, STEPS), test, longest_s, noted_in)


def stream_all(source: DelayedSource, workers: int, start: int = 0, stop: int = STEPS) -> bytes:
    """What ``workers`` consumers at a time got of the steps from ``start`` to before ``stop``."""
    reference: Any = ray.put(source)
    table, plan = source.tables["train"], source.plan

    def consume(rank: int) -> np.ndarray:
        groups = list(GroupStream(source, reference, iter(train_items(plan, rank, workers, start, stop)), 0.5))
        assert [group.id for group in groups] == list(train_items(plan, rank, workers, start, stop))
        assert all(audio_is_right(table, group) for group in groups)
        assert all(group.read.bytes_fetched and group.ready_at for group in groups)
        return delivered_rows(plan, groups)

    with ThreadPoolExecutor(workers) as pool:
        return merged(list(pool.map(consume, range(workers))))


def test_traces_of_1_2_and_8_consumers_are_the_plan(ray_cluster: None, table: SongTable):
    source = source_of(table)
    planned = merged([planned_rows(source.plan, train_items(source.plan, 0, 1))])
    assert len(planned) > 10_000 * 5 * 8
    for workers in (1, 2, 8):
        assert stream_all(source, workers) == planned


def test_late_tasks_change_nothing(ray_cluster: None, table: SongTable):
    source = source_of(table, longest_s=0.3)
    planned = merged([planned_rows(source.plan, train_items(source.plan, 0, 1))])
    assert stream_all(source, 2) == planned


def test_stopped_and_resumed_on_other_workers_it_is_the_rest(ray_cluster: None, table: SongTable):
    source = source_of(table)
    planned = merged([planned_rows(source.plan, train_items(source.plan, 0, 1))])
    first, second = 7, 38
    parts = [stream_all(source, 8, 0, first), stream_all(source, 2, first, second), stream_all(source, 8, second)]
    assert b"".join(parts) == planned


def executors() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, StreamingExecutor)]


def wait_until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 300
    while not true() and time.monotonic() < deadline:
        time.sleep(0.1)
    return true()


def test_reading_begins_before_the_first_group_is_asked_for(ray_cluster: None, table: SongTable):
    """A worker builds its model meanwhile."""
    source = source_of(table)
    stream = GroupStream(source, ray.put(source), iter(train_items(source.plan, 0, 1)), 0.5)
    assert wait_until(lambda: len(executors()) == 1)
    stream.close()
    assert wait_until(lambda: not executors())


def test_the_next_epoch_is_read_before_the_last_group_of_an_epoch_is_taken(
    ray_cluster: None, table: SongTable, tmp_path: Path
):
    """No gap between epochs."""
    source = source_of(table, noted_in=str(tmp_path))
    items = list(train_items(source.plan, 0, 1))
    epoch = sum(source.plan.train.epoch(id.step) == 0 for id in items)
    stream = GroupStream(source, ray.put(source), iter(items), 0.5)
    list(islice(stream, epoch - 1))
    ahead = {f"{id.step}-{id.group}" for id in items[epoch : epoch + 8]}
    assert wait_until(lambda: ahead <= {path.name for path in tmp_path.iterdir()}), "the worker computes, nobody reads"
    last, *following = islice(stream, 1 + 8)
    stream.close()
    assert wait_until(lambda: not executors())
    assert (source.plan.train.epoch(last.id.step), last.id) == (0, items[epoch - 1])
    assert {source.plan.train.epoch(group.id.step) for group in following} == {1}
    assert all(group.ready_at for group in following)


def test_a_stream_that_is_left_reads_no_more(ray_cluster: None, table: SongTable):
    source = source_of(table, longest_s=0.3)
    stream = GroupStream(source, ray.put(source), iter(train_items(source.plan, 0, 1)), 0.5)
    assert len(list(islice(stream, 70))) == 70  # more than half of the first dataset: the second has begun
    assert len(executors()) == 2
    stream.close()
    assert wait_until(lambda: not executors())


class Clock:
    """A clock that may be made to run faster: two seconds are minutes then, and no test waits for them."""

    def __init__(self) -> None:
        self._speed, self._shown, self._real = 1.0, 0.0, time.monotonic()

    def __call__(self) -> float:
        real = time.monotonic()
        self._shown, self._real = self._shown + self._speed * (real - self._real), real
        return self._shown

    def run(self, speed: float) -> None:
        self()
        self._speed = speed


def test_a_consumer_may_be_slow_or_stopped(ray_cluster: None, table: SongTable, monkeypatch: pytest.MonkeyPatch):
    """Slow training, a long validation pass, and a process that is stopped and continued."""
    clock = Clock()
    monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic=clock, sleep=time.sleep))
    monkeypatch.setattr(pacing, "STALLED_S", 120.0)
    monkeypatch.setattr(stream, "READ_AHEAD_BYTES", 8 << 20)
    source = source_of(table)
    groups = GroupStream(source, ray.put(source), iter(train_items(source.plan, 0, 1)), 0.5)
    taken = list(islice(groups, 2))
    running: list[Any] = executors()
    assert wait_until(lambda: all(len(executor._output_node[1].output_queue) for executor in running))
    clock.run(200.0)
    time.sleep(3)  # ten minutes
    clock.run(1.0)
    taken += islice(groups, 40)
    subprocess.Popen(["sh", "-c", f"sleep 2; kill -CONT {os.getpid()}"])
    clock.run(200.0)
    os.kill(os.getpid(), signal.SIGSTOP)
    clock.run(1.0)
    taken += islice(groups, 40)
    groups.close()
    assert [group.id for group in taken] == list(islice(train_items(source.plan, 0, 1), 82))
    assert wait_until(lambda: not executors())


def test_read_tasks_that_hang_end_the_stream(ray_cluster: None, table: SongTable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pacing, "STALLED_S", 2.0)
    source = source_of(table, longest_s=20.0)
    with pytest.raises(StalledStreamError, match="no read task delivered a group for 2 s while training waited"):
        list(GroupStream(source, ray.put(source), iter(train_items(source.plan, 0, 1)), 0.5))
    assert wait_until(lambda: not executors())


def failure(source: DelayedSource, sent: object) -> str:
    """The error that ends the stream of a source whose tasks get ``sent``; none of its threads stays."""
    reference: Any = ray.put(sent)
    with pytest.raises(RayError) as failed:
        list(GroupStream(source, reference, iter(train_items(source.plan, 0, 1)), 0.5))
    assert wait_until(lambda: not executors())
    return str(failed.value)


def test_a_flipped_bit_ends_the_stream_with_its_place(ray_cluster: None, tmp_path: Path):
    song, table = 4_321, ten_thousand_songs(tmp_path)
    shard = table.shard_names[table.shard_N[song]]
    flip(tmp_path / shard, int(table.offset_N[song]) + 100)
    error = failure(source_of(table), source_of(table))
    assert re.search(r"shard-4\.tar .*: second 0 of song song04321 does not match its checksum", error), error


class Poison:
    """Ends the process that reads it."""

    def __reduce__(self) -> tuple:
        return os._exit, (1,)


def test_a_task_that_can_never_run_ends_the_stream(
    ray_cluster: None, table: SongTable, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stream, "TASK_BYTES", 1 << 40)  # one task: Ray tries each again, in processes of its own
    failure(source_of(table), Poison())
