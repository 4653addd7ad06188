"""Where a run stands: what its streams counted adds up over attempts and workers, and checkpoints stay readable."""

from __future__ import annotations

import json
from pathlib import Path

from genrescale.telemetry.stream_stats import StreamStats
from genrescale.training.state import RunState, loop_summary

MEASURED = {"seconds_to_first_step": 1.0, "num_params": 7, "fresh_weights": [], "device": "cpu", "nodes": 1}


def streams(*bytes_of_rank: int) -> list[StreamStats]:
    return [
        StreamStats(rank, seconds=10.0, wait_s=1.0, bytes_delivered=n, bytes_fetched=2 * n, retries=3)
        for rank, n in enumerate(bytes_of_rank)
    ]


def test_figures_are_of_all_workers_and_all_attempts(tmp_path: Path):
    state = RunState()
    for counted in (streams(30, 40), streams(100, 200)):  # a stream counts from the start of its attempt
        state.count(counted[0], counted, RunState())
    state.step, state.clips = 4, 120
    state.save(tmp_path)
    second = RunState.load(tmp_path)
    assert second == state
    second.count((again := streams(5))[0], again, state)
    found = loop_summary(second, **MEASURED)
    assert (found.bytes_delivered, found.bytes_fetched, found.storage_retries) == (305, 610, 9)
    assert (found.seconds_training, found.data_wait_share, found.clips_per_s) == (20.0, 0.1, 6.0)
    assert [stream["bytes_delivered"] for stream in found.streams] == [5]  # of the last attempt


def test_a_checkpoint_of_the_first_version_is_continued(tmp_path: Path):
    old = {**vars(RunState(step=40, clips=80)), "bytes_read": 1000, "streams": [{"rank": 0, "num_bytes": 1500}]}
    del old["bytes_delivered"], old["bytes_fetched"]
    (tmp_path / "progress.json").write_text(json.dumps(old))
    state = RunState.load(tmp_path)
    assert (state.step, state.clips, state.bytes_delivered, state.bytes_fetched) == (40, 80, 1000, 0)
    assert StreamStats.from_dict(state.streams[0]).bytes_fetched == 1500
