"""The table of exit statuses in docs/operations.md is true: every status is provoked. Our own mistakes leave a log."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.job_runs import JOBS, run

from genrescale.launch.worker_logs import KEPT, last_lines
from genrescale.storage.errors import StoreError

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"


def done(tmp_path: Path, patch: pytest.MonkeyPatch) -> int:
    return run("inventory", "--version").returncode


def failing(tmp_path: Path, patch: pytest.MonkeyPatch) -> int:
    def refuse(*_: object) -> None:
        error = StoreError("s3://music cannot be read")
        error.add_note("the job had started")
        raise error

    patch.setattr("genrescale.inventory.list_store", refuse, raising=False)
    patch.setattr("genrescale.storage.store.Store.folders", refuse)
    patch.setattr("genrescale.storage.store.Store.sizes", refuse)
    return run("inventory", f"store={tmp_path}").returncode


def impossible(tmp_path: Path, patch: pytest.MonkeyPatch) -> int:
    return run("inventory", "delete=everything").returncode


def our_mistake(tmp_path: Path, patch: pytest.MonkeyPatch) -> int:
    patch.setattr("genrescale.storage.store.Store.sizes", broken)
    patch.setattr("genrescale.storage.store.Store.folders", broken)
    return run("inventory", f"store={tmp_path}").returncode


def stopped(tmp_path: Path, patch: pytest.MonkeyPatch) -> int:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    patch.setattr("genrescale.storage.store.Store.sizes", stop)
    patch.setattr("genrescale.storage.store.Store.folders", stop)
    return run("inventory", f"store={tmp_path}").returncode


def closed_pipe(tmp_path: Path, patch: pytest.MonkeyPatch) -> int:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run([sys.executable, f"{JOBS}/inventory.py", "--help"], stdout=writing, timeout=60).returncode
    finally:
        os.close(writing)


PROVOKED: dict[int, Callable[[Path, pytest.MonkeyPatch], int]] = {
    0: done,
    1: failing,
    2: impossible,
    70: our_mistake,
    130: stopped,
    141: closed_pipe,
}


def broken(*_: object) -> None:
    raise TypeError("unsupported operand")


def documented() -> set[int]:
    table = DOCUMENT.read_text().partition("## Exit status")[2].partition("\n\n")[0]
    return {int(status) for status in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}


def test_the_table_has_every_status_that_is_provoked_here():
    assert documented() == set(PROVOKED)


@pytest.mark.parametrize("status", PROVOKED)
def test_a_status_is_what_the_table_says(status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert PROVOKED[status](tmp_path, monkeypatch) == status


def test_a_mistake_of_ours_is_one_line_and_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The log has the trace and what a worker wrote last, is for this user only, and names no password."""

    def with_lines(*_: object) -> None:
        error = TypeError("unsupported operand at s3://user:hunter2@music/a")
        setattr(error, KEPT, "worker-1.err:\nline of a worker")
        raise error

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("genrescale.storage.store.Store.sizes", with_lines)
    monkeypatch.setattr("genrescale.storage.store.Store.folders", with_lines)
    ended = run("inventory", f"store={tmp_path}")
    assert (ended.returncode, ended.stdout) == (70, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("inventory: TypeError: unsupported operand at s3://music/a; this is a mistake of this")
    log = Path(line.rpartition("log: ")[2])
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    text = log.read_text()
    assert "with_lines" in text
    assert "Traceback (most recent call last)" in text
    assert text.endswith("A worker's last lines:\nworker-1.err:\nline of a worker\n")
    assert "hunter2" not in text


def test_the_last_lines_are_those_of_the_worker_that_wrote_last(tmp_path: Path):
    for name, text, at in (
        ("worker-a-01-11.err", "old\n", 1),
        ("worker-b-01-12.out", ":job_id:01\n" + "".join(f"line {i}\n" for i in range(30)), 3),
        ("worker-c-01-13.err", "", 9),
        ("worker-d-01-14.err", ":actor_name:x\n", 8),
        ("raylet.err", "no worker\n", 10),
    ):
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (at, at))
    assert last_lines(tmp_path) == "\n".join(["worker-b-01-12.out:", *(f"line {i}" for i in range(10, 30))])
    assert last_lines(tmp_path, pid=11) == "worker-a-01-11.err:\nold"
    assert last_lines(tmp_path, pid=99) == ""
