"""A progress line is never silent, and says what runs, how far it is and how long is left."""

from __future__ import annotations

import importlib
import io
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.job_runs import run
from helpers.small_corpus import SETTINGS, VOCABULARY, make_song

from genrescale.data.sharding.job import shard_tasks
from genrescale.data.sharding.plan_file import fix_plan
from genrescale.data.sharding.writer import write_shard
from genrescale.launch.watch import Watch
from genrescale.results.live import LiveRun, live_path, read_live, write_live
from genrescale.storage.errors import StoreError
from genrescale.storage.store import Store
from genrescale.telemetry import progress as telemetry
from genrescale.telemetry.pace import Pace
from genrescale.telemetry.progress import Progress, Waiting, format_duration
from genrescale.telemetry.ticks import listening
from genrescale.training.live import LiveProgress, Moment

RUN = "0123456789ab"


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
    assert lines[0].startswith("[sharding] 1/4 songs · estimating · 0s so far · a.mp3")
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


def test_the_time_left_is_said_once_two_halves_agree():
    pace = Pace()
    for second in range(9):
        pace.moved(100 + second, second)
    assert pace.left_s(108, 100) is None  # too early
    for second in range(9, 21):
        pace.moved(100 + second, second)
    assert pace.left_s(120, 100) == pytest.approx(80)  # a song a second, without the 100 s of the start
    for second in range(21, 60):
        pace.moved(120 + 30 * (second - 20), second)  # ten times slower, and more
    assert pace.left_s(1290, 100) == pytest.approx(41 * 30, rel=0.05)


@pytest.mark.parametrize(
    "moves",
    [
        [(0, 1), (1, 50), (2, 100), (3, 150), (60, 151)],  # fast, then nearly still
        [(0, 1), (30, 2), (31, 90), (32, 150)],  # in one leap
        [(0, 20)],
        [],
    ],
)
def test_nothing_is_said_of_a_stage_without_a_pace(moves: list[tuple[float, int]]):
    pace = Pace()
    for now_s, done in moves:
        pace.moved(now_s, done)
    assert pace.left_s(60.0, 1000) is None


def test_a_pace_of_a_million_moves_is_small():
    pace = Pace()
    for second in range(20_000):
        pace.moved(second, second)
    assert pace.left_s(20_000, 40_000) == pytest.approx(20_000, rel=0.02)
    assert len(pace._moves) <= 512


def test_songs_of_unfinished_shards_count_and_dropped_steps_do_not():
    progress = Progress("shard_corpus", 300, "songs", io.StringIO())
    progress.partly(7)
    assert progress.line().startswith("[shard_corpus] 7/300 songs")
    progress.partly(0)
    progress.advance(16)
    progress.drop(100)
    assert progress.line().startswith("[shard_corpus] 16/200 songs")


def test_each_song_of_a_shard_is_heard(tmp_path: Path):
    out, heard = Store(str(tmp_path / "out")), []
    plan = fix_plan([make_song(tmp_path, i) for i in range(8)], VOCABULARY, SETTINGS, out)
    task = shard_tasks(plan, out, {})[0]
    with listening(lambda: heard.append(1)):
        write_shard(task)
    assert len(heard) == len(task.songs) - 1 > 0  # the last one is the shard's own end
    write_shard(task)
    assert len(heard) == len(task.songs) - 1


def test_a_loop_says_where_it_stands_without_waiting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("genrescale.training.live.EVERY_S", 0.0)
    written, taken, release = [], threading.Event(), threading.Event()

    def write(moment: Moment) -> None:
        taken.set()
        release.wait()
        written.append(moment.run.step)
        raise StoreError("the store does not answer")

    with LiveProgress(write) as live:
        live(lambda: Moment(LiveRun(1, ""), []))
        taken.wait()
        for step in range(2, 100):
            live(lambda step=step: Moment(LiveRun(step, ""), []))  # while the first is on its way
        release.set()
        while len(written) < 2:
            time.sleep(0.001)
    assert written == [1, 99]


def test_what_a_step_says_is_asked_for_only_when_it_is_due():
    asked = []
    with LiveProgress(lambda moment: None) as live:
        for step in range(1000):
            live(lambda step=step: asked.append(step) or Moment(LiveRun(step, ""), []))
    assert asked[0] == 0
    assert len(asked) < 1000


def test_the_line_of_a_run_moves_between_validations(tmp_path: Path):
    files, progress = Store(str(tmp_path)), Progress("train", 300, "steps", io.StringIO())
    run = SimpleNamespace(optim=SimpleNamespace(max_steps=300))
    watched: Any = {RUN: SimpleNamespace(label="waveform 1,000 songs", run=run)}
    watch = Watch(watched, progress, files)
    trial = SimpleNamespace(config={"run_id": RUN}, status="RUNNING", last_result={})
    watch.on_trial_start(0, [trial], trial)
    assert progress.line().endswith("0/1 runs done; now: waveform 1,000 songs step 0, starting")
    watch.look()
    write_live(files, RUN, LiveRun(0, "reading the first songs"))
    watch.look()
    assert progress.line().endswith("waveform 1,000 songs step 0, reading the first songs")
    write_live(files, RUN, LiveRun(42, "", 0.25, {"step": 20.0, "val_loss": 0.5, "val_pr_auc": 0.75, "val_rmse": None}))
    watch.look()
    assert progress.line().startswith("[train] 42/300 steps")
    assert progress.line().endswith("step 42, train loss 0.2500, validated at step 20: loss 0.5000 PR-AUC 0.7500")
    watch.on_trial_result(0, [trial], trial, {"step": 40})
    assert progress.line().startswith("[train] 42/300 steps")
    files.write_bytes(live_path(RUN), b"{half")
    watch.look()
    watch.on_trial_complete(0, [], trial)
    assert progress.line().startswith("[train] 42/42 steps")  # it stopped early
    assert "1/1 runs done" in progress.line()
    write_live(files, RUN, LiveRun(1, "", float("nan"), {"step": 1.0, "train_loss": float("inf"), "val_loss": 0.5}))
    assert read_live(files, RUN) == LiveRun(1, "", None, {"step": 1.0, "train_loss": None, "val_loss": 0.5})


def test_an_error_ends_the_line_with_stopped():
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), Progress("x", 2, "songs", stream):
        _ = 1 / 0
    assert stream.getvalue().rstrip().endswith("stopped")
