"""What a person sees of a long stage: a picture on a terminal that keeps its size, and in a log few lines."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from genrescale.launch.live_view import RunView, sparkline, sweep_picture
from genrescale.launch.watch import Watch
from genrescale.results.live import LiveRun, write_live
from genrescale.results.run_log import HEAD, add_line, log_line, log_path
from genrescale.storage.errors import StoreError
from genrescale.storage.store import Store
from genrescale.telemetry.progress import Progress, Waiting, counted, heartbeat

RUN, OTHER = "0123456789ab", "fedcba987654"
LINE = {"step": 1200.0, "train_loss": 0.25, "val_loss": 0.5, "lr": 1e-3, "clips_per_s": 83.64, "wait_share": 0.021}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch):
    """A terminal of the usual kind, whatever runs the tests."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}.items():
        monkeypatch.setenv(name, value)


def test_a_log_has_a_line_soon_then_one_every_half_minute_and_less_often_after_hours():
    assert [heartbeat(elapsed_s) for elapsed_s in (0, 3, 600, 7200, 90_000)] == [3, 30, 30, 36, 60]


def test_an_event_is_a_line_of_a_log_at_once():
    stream = io.StringIO()
    with Progress("scale_sweep", 10, "steps", stream) as progress:
        progress.happened("run a\x1b[2J failed")
        assert stream.getvalue() == "[scale_sweep] run a\\x1b[2J failed\n"
    assert len(stream.getvalue().splitlines()) == 2


def test_a_terminal_has_a_bar_in_place_and_one_line_in_the_end():
    stream = Terminal()
    with Progress("tag", 4, "songs", stream) as progress:
        progress.advance(2, "a\x1b]0;owned\x07.mp3")
        progress.happened("one song is damaged")
        time.sleep(0.6)
    shown = stream.getvalue()
    assert "━" in shown
    assert "2/4 songs" in shown
    assert "\x1b]0;owned" not in shown
    assert "[tag] one song is damaged\n" in plain(shown)
    assert shown.endswith("[tag] 2/4 songs · estimating · 1s so far · a\\x1b]0;owned\\x07.mp3\n")


def test_a_stage_that_nobody_can_count_leaves_nothing_on_a_terminal():
    stream = Terminal()
    with Waiting("shard_corpus", "listing the songs", stream):
        time.sleep(0.4)
    assert "listing the songs" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")  # the line is erased


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    with Progress("tag", 4, "songs", stream) as progress:
        progress.below(lambda width: sweep_picture([view("failed")], 1, {}, 0.0, width))
        time.sleep(0.4)
    assert re.findall(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", stream.getvalue()) == []


def test_a_dumb_terminal_has_the_lines_of_a_log(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with Progress("tag", 4, "songs", stream):
        time.sleep(0.3)
    assert "\x1b" not in stream.getvalue()


def test_a_loop_is_counted_while_it_runs_and_silent_if_it_is_short(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert list(counted("evaluate", ["a", "b"], "runs")) == ["a", "b"]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("genrescale.telemetry.progress.FIRST_S", 0.0)
    assert list(counted("evaluate", ["a", "b"], "runs")) == ["a", "b"]
    assert "[evaluate] 2/2 runs" in capsys.readouterr().err


DRAWS = """
import sys, time
from genrescale.telemetry.progress import Progress
from genrescale.telemetry.terminal import say
with Progress("tag", 4, "songs") as progress:
    progress.note("x" * 300)
    time.sleep(0.6)
    say("a line of another's", sys.stderr)
    print("resized", file=sys.stderr, flush=True)
    sys.stdin.readline()
    time.sleep(0.6)
"""


def test_on_a_real_terminal_lines_fit_also_after_it_is_made_narrower():
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}

    def resize(columns: int) -> None:
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    resize(90)
    with subprocess.Popen([sys.executable, "-c", DRAWS], stdin=theirs, stderr=theirs, env=environment) as drawing:
        os.close(theirs)
        wide = "".join(read(ours, "resized"))
        resize(50)
        os.write(ours, b"\n")
        narrow = "".join(read(ours))
    assert drawing.returncode == 0
    assert "a line of another's\r\n" in plain(wide)
    drawn = [line for line in re.split(r"[\r\n]+", plain(narrow).rpartition("[tag]")[0])]
    assert max(map(len, re.split(r"[\r\n]+", plain(wide)))) == 90
    assert [len(line) for line in drawn if line][-1] == 50


def read(terminal: int, until: str = "") -> Iterator[str]:
    """What a program writes to a terminal, until it has written ``until`` or ends."""
    while True:
        try:
            text = os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # nobody writes any more
            return
        yield text
        if until and until in text:
            return


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def view(state: str = "running", id: str = RUN, **values: Any) -> RunView:
    return RunView(id, "waveform 1,000 songs lr 0.001 seed 0 (grid)", 100, state, **values)


def drawn(picture: Any, width: int = 120) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(picture)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_a_sweep_is_shown_with_its_runs_and_best_scores():
    live = LiveRun(40, "", 0.25, {}, 1e-3, 83.6, 0.021, 1_000_000)
    runs = [
        view("finished", OTHER, step=100, end="PR-AUC 0.5231"),
        view(step=40, live=live, losses=[0.5, 0.4, 0.3, 0.25]),
    ]
    lines = drawn(sweep_picture(runs, 3, {"waveform": {1000: "PR-AUC 0.5231", 100: "PR-AUC 0.4"}}, 0.0, 120))
    assert lines[0] == "1 running, 1 finished, 0 failed, 3 waiting"
    assert lines[2].startswith("01234567 waveform 1,000 songs lr 0.001 seed 0")
    assert lines[2].split()[-6:] == ["40", "83.6", "2%", "-", "0.2500", "█▅▂▁"]
    assert lines[3].startswith("fedcba98 waveform 1,000 songs")
    assert lines[3].endswith("PR-AUC 0.5231")
    assert lines[4] == "best  waveform: 100 songs PR-AUC 0.4, 1,000 songs PR-AUC 0.5231"


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_a_sweep_fits_into_any_width_and_shows_no_control_character(width: int):
    runs = [view("failed", end="x\x1b[2J" * 40), view(id=OTHER, live=LiveRun(1, "scoring", 0.1), step=1)]
    runs[0].label = "mine\x1b]0;owned\x07"
    lines = drawn(sweep_picture(runs, 0, {"mine\x1b[2J": {100: "PR-AUC 0.5"}}, 0.0, width), width)
    assert len(lines) == 5
    assert max(map(len, lines)) <= width
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    ("values", "bars"), [([], ""), ([1.0], "▁"), ([2.0, 2.0], "▁▁"), ([0, 1, 0.5], "▁█▅"), (range(99), "▁▂▂▃▄▄▅▅▆▇▇█")]
)
def test_a_sparkline_shows_all_of_a_run_between_its_ends(values: Any, bars: str):
    assert sparkline(list(values)) == bars


def test_lines_of_a_run_are_aligned_and_kept_in_its_folder(tmp_path: Any):
    files = Store(str(tmp_path))
    for step in (400, 800, 1200):
        add_line(files, RUN, {**LINE, "step": step, "memory_bytes": 1.5e9})
    add_line(files, RUN, {**LINE, "step": 800, "train_loss": None})  # an attempt from an earlier checkpoint
    lines = files.read_bytes(log_path(RUN)).decode().splitlines()
    assert lines == [
        "     step     loss      val        lr  clips/s   wait    memory",
        "      400   0.2500   0.5000  1.00e-03     83.6   2.1%  1,500 MB",
        "      800        -   0.5000  1.00e-03     83.6   2.1%      - MB",
    ]
    assert lines[0] == HEAD


def test_a_log_that_somebody_else_wrote_is_begun_anew(tmp_path: Any):
    files = Store(str(tmp_path))
    files.write_bytes(log_path(RUN), b"\xff\xfe\x1b[2J\n\nnone\n 7")
    add_line(files, RUN, LINE)
    assert files.read_bytes(log_path(RUN)).decode().splitlines() == [HEAD, " 7", log_line(LINE)]


def test_a_log_that_cannot_be_read_now_is_not_begun_anew(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    files = Store(str(tmp_path))
    add_line(files, RUN, LINE)
    before = files.read_bytes(log_path(RUN))

    def fail(*_: Any) -> bytes:
        raise StoreError("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "read_bytes", fail)
        with pytest.raises(StoreError):
            add_line(files, RUN, {**LINE, "step": 2000})
    assert files.read_bytes(log_path(RUN)) == before


def watched(*ids: str) -> dict[str, Any]:
    run = SimpleNamespace(optim=SimpleNamespace(max_steps=100))
    return {id: SimpleNamespace(label=f"run {id[:2]}", run=run) for id in ids}


def trial(id: str, **result: Any) -> Any:
    return SimpleNamespace(config={"run_id": id}, status="RUNNING", last_result=result)


def test_runs_that_a_search_finds_on_the_way_are_counted(tmp_path: Any):
    stream, trials = io.StringIO(), watched(RUN)
    progress = Progress("search", 100, "steps", stream)
    watch = Watch(trials, progress, Store(str(tmp_path)))
    watch.on_trial_start(0, [], trial(RUN))
    trials |= watched(OTHER)
    watch.on_trial_start(0, [], trial(OTHER))
    assert progress.line().startswith("[search] 0/200 steps")
    watch.on_trial_result(0, [], trial(RUN), {"step": 20, "train_loss": 0.5})
    watch.on_trial_complete(0, [], trial(RUN))  # without a row or an error: it was stopped
    assert progress.line().startswith("[search] 20/120 steps")
    watch.on_trial_complete(0, [], trial(OTHER, error="CUDA out of memory"))
    assert stream.getvalue().splitlines() == [
        "[search] run 01 stopped: at step 20 (1/2 runs done)",
        "[search] run fe failed: CUDA out of memory (2/2 runs done)",
    ]


def test_the_only_run_tells_of_each_validation_in_an_aligned_line(tmp_path: Any):
    stream = io.StringIO()
    watch = Watch(watched(RUN), Progress("train", 100, "steps", stream), Store(str(tmp_path)))
    watch.on_trial_start(0, [], trial(RUN))
    for step in (20, 40):
        watch.on_trial_result(0, [], trial(RUN), {**LINE, "step": step})
    watch.on_trial_result(0, [], trial(RUN), {"step": 40, "val_loss": 0.5})  # the last report is no validation
    assert [line.removeprefix("[train] ").split()[0] for line in stream.getvalue().splitlines()] == ["step", "20", "40"]


def test_the_picture_of_a_sweep_follows_what_its_runs_write(tmp_path: Any):
    files = Store(str(tmp_path))
    watch = Watch(watched(RUN, OTHER), Progress("scale_sweep", 200, "steps", io.StringIO()), files)
    watch.on_trial_start(0, [], trial(RUN))
    for step, loss in ((10, 0.5), (20, 0.25)):
        write_live(files, RUN, LiveRun(step, "", loss, {}, 1e-3, 12.5, 0.5))
        watch.look()
    lines = drawn(watch._picture(120))
    assert lines[0] == "1 running, 0 finished, 0 failed, 1 waiting"
    assert lines[2].split()[-6:] == ["20", "12.5", "50%", "-", "0.2500", "█▁"]


def test_a_trial_whose_process_never_started_is_a_failed_run(tmp_path: Any):
    stream = io.StringIO()
    watch = Watch(watched(RUN), Progress("scale_sweep", 100, "steps", stream), Store(str(tmp_path)))
    watch.on_trial_error(0, [], trial(RUN))
    assert stream.getvalue() == "[scale_sweep] run 01 failed: its process died (1/1 runs done)\n"


def test_the_losses_of_a_run_of_days_are_few_and_show_all_of_it():
    run = view()
    for step in range(100_000):
        run.saw(LiveRun(step, "", 1 / (1 + step)))
        run.saw(LiveRun(step, "validating", 0.0))  # no step was done
    assert len(run.losses) <= 256
    assert run.losses[0] == 1.0
    assert min(run.losses) > 0
    run.end_as("finished", "")
    assert run.losses == []
