"""A progress line is never silent, and says what runs, how far it is and how long is left."""

from __future__ import annotations

import importlib
import io
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.job_runs import run
from helpers.small_corpus import make_song

from genrescale.telemetry import progress as telemetry
from genrescale.telemetry.progress import Progress, Waiting, format_duration


def wait_for_lines(stream: io.StringIO, count: int) -> None:
    """Until ``stream`` has so many lines more; a beat that never comes ends the test by its time limit."""
    wanted = stream.getvalue().count("\n") + count
    while stream.getvalue().count("\n") < wanted:
        time.sleep(0.005)


@pytest.mark.parametrize(("seconds", "text"), [(8.25, "8s"), (75.2, "1m15s"), (3_660, "1h01m")])
def test_durations_are_short(seconds: float, text: str):
    assert format_duration(seconds) == text


def test_lines_come_while_one_item_takes_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(telemetry, "HEARTBEAT_S", 0.02)
    stream = io.StringIO()
    with Progress("sharding", 4, "songs", stream) as progress:
        progress.advance(1, "a.mp3")
        wait_for_lines(stream, 3)
    lines = stream.getvalue().splitlines()
    assert len(lines) >= 4
    assert lines[0].startswith("[sharding] 1/4 songs · about ")
    assert "left" in lines[0]
    assert lines[-1].endswith("a.mp3")


def test_a_stage_that_nobody_can_count_is_heard_while_it_lasts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(telemetry, "HEARTBEAT_S", 0.02)
    stream = io.StringIO()
    with Waiting("shard_corpus", "listing the songs", stream) as waiting:
        wait_for_lines(stream, 1)
        waiting.note("planning 1,000,000 songs")
        wait_for_lines(stream, 2)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[shard_corpus] 0s so far · listing the songs"
    assert lines[-1] == "[shard_corpus] 0s so far · planning 1,000,000 songs"
    monkeypatch.setattr(telemetry, "HEARTBEAT_S", 5)
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), Waiting("shard_corpus", "listing the songs", stream):
        _ = 1 / 0  # a refusal stays one line
    assert stream.getvalue() == ""


def test_the_shard_job_is_heard_while_it_lists_plans_connects_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def slow(module: str, name: str) -> None:
        function = getattr(importlib.import_module(module), name)

        def slowly(*arguments: Any, **named: Any) -> Any:
            assert isinstance(sys.stderr, io.StringIO)
            wait_for_lines(sys.stderr, 2)
            return function(*arguments, **named)

        monkeypatch.setattr(f"{module}.{name}", slowly)

    monkeypatch.setattr(telemetry, "HEARTBEAT_S", 0.01)
    slow("genrescale.data.corpora", "list_corpus")
    slow("genrescale.data.sharding.plan_file", "fix_plan")
    slow("genrescale.launch.cluster", "_init")
    slow("genrescale.data.sharding.job", "read_takedowns")
    slow("genrescale.data.sharding.job", "_to_manifest")
    monkeypatch.setattr("genrescale.launch.cluster._private_options", lambda *_: {})
    monkeypatch.setattr("ray.init", lambda **_: None)  # without a cluster
    monkeypatch.setattr("genrescale.data.sharding.job.run_tasks", lambda function, items, **_: map(function, items))
    for i in range(12):
        (tmp_path / f"audio/{i % 2}").mkdir(parents=True, exist_ok=True)
        make_song(tmp_path / f"audio/{i % 2}", i)
    ended = run("shard_corpus", "corpus=folder", f"audio={tmp_path}/audio", f"out={tmp_path}/out", "min_s=0.5")
    assert ended.returncode == 0, ended.stderr
    for note in (
        *("listing the songs", "planning 12 songs", "connecting to Ray"),
        *("looking for finished shards", "writing the manifest"),
    ):
        assert f"so far · {note}\n" in ended.stderr


def test_an_error_ends_the_line_with_stopped():
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), Progress("x", 2, "songs", stream):
        _ = 1 / 0
    assert stream.getvalue().rstrip().endswith("stopped")
