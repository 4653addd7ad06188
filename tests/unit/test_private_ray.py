"""A Ray that starts late, or in a folder with a long path, is tried again or moved, and says one line if it fails."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from helpers.job_runs import run
from ray._private import node, services, utils, worker
from ray.exceptions import WorkerCrashedError

from genrescale.launch import cluster, private_ray
from genrescale.launch.private_ray import RayStartError, private_folder, start

LATE = "The current node timed out during startup. This could happen because some of the raylet failed to startup"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(private_ray, "LIMITS_S", (0, 0))
    level = logging.getLogger("ray").level
    yield
    logging.getLogger("ray").setLevel(level)


def late(times: int, calls: list[int]) -> Any:
    def init(**_: object) -> None:
        calls.append(len(calls))
        if len(calls) <= times:
            raise Exception(LATE)

    return init


def test_a_late_start_is_tried_once_more(capsys: pytest.CaptureFixture[str]):
    calls: list[int] = []
    start(late(1, calls))
    assert calls == [0, 1]
    assert capsys.readouterr().err == f"[ray] Ray did not start ({LATE}); once more, with more time\n"


def test_a_start_that_fails_twice_is_one_sentence():
    calls: list[int] = []
    with pytest.raises(
        RayStartError, match=r"did not start on this machine, tried 2 times .*the same command continues"
    ):
        start(late(9, calls))
    assert calls == [0, 1]


def test_options_that_cannot_be_are_not_tried_again():
    calls: list[int] = []

    def init() -> None:
        calls.append(0)
        raise ValueError("no such option")

    with pytest.raises(ValueError, match="no such option"):
        start(init)
    assert calls == [0]


def test_a_node_that_comes_late_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []

    def get_node(address: str) -> str:
        asked.append(address)
        if len(asked) < 3:
            raise RuntimeError("not yet")
        return "node"

    monkeypatch.setattr(services, "get_node", get_node)
    with private_ray._patience(60):
        assert services.get_node("here") == "node"  # pyright: ignore[reportCallIssue]
    assert services.get_node is get_node


def test_processes_of_a_node_that_does_not_start_are_ended(monkeypatch: pytest.MonkeyPatch):
    ended: list[str] = []

    class Node:
        def __init__(self, name: str) -> None:
            self.name = name
            if name == "late":
                raise Exception(LATE)

        def kill_all_processes(self, **_: bool) -> None:
            ended.append(self.name)

    monkeypatch.setattr(node, "Node", Node)
    with pytest.raises(RayStartError):
        start(lambda: node.Node("late"))  # pyright: ignore[reportArgumentType]
    start(lambda: node.Node("good"))  # pyright: ignore[reportArgumentType]
    assert ended == ["late", "late"]
    assert node.Node is Node


def test_a_job_whose_ray_does_not_start_is_one_line_and_its_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    temporary = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(ray, "init", late(9, []))
    ended = run("synthesize_corpus", f"out={tmp_path}")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("synthesize_corpus: Ray did not start on this machine")
    assert "Traceback" not in ended.stderr
    assert list(temporary.iterdir()) == []
    temporary.rmdir()


def test_where_the_temporary_folder_is_too_long_a_short_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    long = tmp_path / "/".join(["project-0123456789", "someone.with.a.long.name"])
    long.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with private_folder() as folder:
        assert len(folder + private_ray._LONGEST_BELOW) <= 107
        assert os.stat(folder).st_mode & 0o777 == 0o700
    assert not os.path.exists(folder)
    assert f"TMPDIR={long} is too long for Ray's sockets: Ray's files lie in /" in capsys.readouterr().err
    monkeypatch.setattr(private_ray, "_SHORT_FOLDERS", ())
    with pytest.raises(ValueError, match="set TMPDIR to one of at most"), private_folder():
        pass


def test_a_cluster_that_does_not_let_in_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def init(**_: object) -> None:
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9\n    Python: 3.10")

    monkeypatch.setenv("RAY_ADDRESS", "ray")
    monkeypatch.setattr(ray, "init", init)
    ended = run("synthesize_corpus", f"out={tmp_path}")
    assert ended.returncode == 2
    assert "the Ray cluster at RAY_ADDRESS=ray does not let in (Version mismatch" in ended.stderr.splitlines()[-1]


def test_what_ray_itself_dies_of_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def failing(*_: object) -> Iterator[None]:
        raise WorkerCrashedError
        yield

    monkeypatch.setattr("genrescale.launch.cluster._init", lambda *_: None)
    monkeypatch.setattr("genrescale.data.sharding.synthetic.run_tasks", failing)
    ended = run("synthesize_corpus", f"out={tmp_path}")
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("synthesize_corpus: WorkerCrashedError: ")
    assert "the same command continues" in last


def test_sigterm_stays_with_the_job(monkeypatch: pytest.MonkeyPatch):
    def ours(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, ours)
    try:
        with cluster._own_sigterm():
            utils.set_sigterm_handler(lambda *_: None)
            signal.signal(signal.SIGTERM, lambda *_: None)  # as Ray's C++ code takes it
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


def test_warnings_of_worker_processes_are_not_shown(capsys: pytest.CaptureFixture[str]):
    def told(line: str) -> str:
        worker.print_to_stdstream({"lines": [line], "pid": "raylet", "is_err": False}, ignore_prefix=False)
        return capsys.readouterr().out

    with cluster._without_worker_warnings():
        assert told("WARNING: 9 PYTHON worker processes have been started on node: a with address: 127.0.0.1.") == ""
        assert "out of memory" in told("a task was killed: the node is out of memory")


def test_a_gpu_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    asked = {
        "train": ["site.corpus=/nowhere", f"site.out={tmp_path}", "site.use_gpu=true"],
        "scale_sweep": ["corpus=/nowhere", f"out={tmp_path}", "site.use_gpu=true"],
        "tag": ["x.wav", "model=/nowhere", "use_gpu=true"],
    }
    for job, settings in asked.items():
        ended = run(job, *settings)
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        assert "use_gpu=true, but PyTorch finds no GPU on this machine" in line
