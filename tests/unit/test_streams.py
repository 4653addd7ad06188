"""The view of streams names the stage that is slow, for finished runs and for those that train."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from helpers.sweeps import make_trial, write_run

from genrescale.data.reading.plan import GroupId
from genrescale.data.reading.source import CropGroup
from genrescale.data.reading.spans import ReadStats
from genrescale.results.stream_stats import format_streams, read_streams, slow_stage, write_streams
from genrescale.storage.store import Store
from genrescale.telemetry.stream_stats import StreamStats
from genrescale.training.timed import TimedGroups


def stream(rank: int = 0, **values: float) -> StreamStats:
    return StreamStats(**{"rank": rank, "read_tasks": 2, "seconds": 100.0, "clips": 1000, "groups": 99, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stats", "slow"),
    [
        (stream(wait_s=4.0, fetch_s=150.0), "train"),
        (stream(wait_s=60.0, fetch_s=150.0, verify_s=20.0, copy_s=10.0), "fetch"),
        (stream(wait_s=60.0, fetch_s=10.0, verify_s=120.0, copy_s=10.0), "verify"),
        (stream(wait_s=60.0, fetch_s=10.0, verify_s=10.0, copy_s=120.0), "copy"),
        (stream(wait_s=60.0, fetch_s=10.0, verify_s=10.0, copy_s=10.0), "deliver"),
    ],
)
def test_the_slow_stage_is_named(stats: StreamStats, slow: str):
    assert stats.slow_stage() == slow


def test_a_run_hangs_on_the_worker_that_waits_longest():
    assert slow_stage([stream(0, wait_s=1.0), stream(1, wait_s=50.0, fetch_s=190.0)]) == "fetch"


def test_rates_and_depths_follow_from_the_seconds():
    stats = stream(wait_s=20.0, fetch_s=50.0, ready_s=300.0)
    assert stats.wait_share == 0.2
    assert stats.queue_depth == 3.0
    assert (stats.clips_per_s("fetch"), stats.clips_per_s("train"), stats.clips_per_s("copy")) == (20.0, 12.5, 0.0)


def test_a_consumed_stream_counts_what_it_took():
    songs, wave, labels = np.arange(4), np.zeros((4, 10), np.int16), np.zeros((4, 1), np.float32)
    ids = [GroupId("train", step, 0) for step in range(3)]
    groups = (
        CropGroup(id, songs, songs, wave, labels, ReadStats(0.5, 0.25, 0.125, 100, 2), ready_at=1.0) for id in ids
    )
    timed = TimedGroups(groups)
    for id in ids:
        timed.take(id)
    stats = timed.stats
    assert (stats.groups, stats.clips, stats.bytes_fetched, stats.retries) == (3, 12, 300, 6)
    assert (stats.fetch_s, stats.verify_s, stats.copy_s) == (1.5, 0.75, 0.375)
    assert stats.ready_s > 0
    assert stats.bytes_delivered == 3 * 80


def test_the_view_shows_finished_runs_and_those_that_train(tmp_path: Path):
    files = Store(str(tmp_path))
    assert "no run has told of its stream yet" in format_streams(read_streams(files))
    write_run(files, trial := make_trial("waveform", 100, 0))
    assert trial.run_id not in read_streams(files)
    write_streams(files, "aaaabbbbcccc", [asdict(stream(0, wait_s=1.0)), asdict(stream(1, wait_s=50.0, retries=7))])
    text = format_streams(read_streams(files))
    lines = text.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["aaaabbbbcccc", "0"], ["aaaabbbbcccc", "1"]]
    assert "50.0%" in lines[2]
    assert "slow stage: deliver (Ray" in lines[3]
