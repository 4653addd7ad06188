"""Workers of a private Ray as forks of one process: all they start with arrives, and without it nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from genrescale.launch import warm_client, warm_start
from genrescale.launch.warm_client import variables
from genrescale.launch.warm_start import can_fork

JOB = {"RAY_RAYLET_PID": "4711", "RAY_JOB_ID": "01000000"}
TOLD = """
import json, os, signal, sys
print(json.dumps({
    "arguments": sys.argv[1:], "folder": os.getcwd(), "parent": os.getppid(), "name": __name__,
    "environment": dict(os.environ), "mask": [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
    "ignored": signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN,
}))
print("a word", file=sys.stderr)
sys.exit(3)
"""
CONTEXT = '--serialized-runtime-env-context={"env_vars": {"OF_THE_JOB": "1"}}'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(tmp_path)
        listener.bind("warm")
        listener.listen()
        command = [sys.executable, "-m", "genrescale.launch.warm_server", str(listener.fileno()), "json"]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env={**os.environ, **JOB}
        )
    assert process.stdin is not None
    yield process
    process.stdin.close()
    assert process.wait(30) == 0


@pytest.fixture(autouse=True)
def back() -> Iterator[None]:
    folder = Path.cwd()
    yield
    os.chdir(folder)


def start(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "worker.py").write_text(TOLD)
    (tmp_path / "cold.py").write_text("import sys\nprint('cold', sys.argv[1:])")
    places = {warm_client.SOCKET: str(tmp_path / "warm"), warm_client.COLD: str(tmp_path / "cold.py")}
    command = [sys.executable, warm_client.__file__, str(tmp_path / "worker.py"), *arguments]
    return subprocess.run(
        command, env={**os.environ, **JOB, **places, **environment}, cwd=tmp_path, capture_output=True, text=True
    )


def test_a_fork_is_what_its_client_was_started_as(server: subprocess.Popen[bytes], tmp_path: Path):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        ended = start(tmp_path, "--name", "a b", "--language=PYTHON", CONTEXT, HOME="elsewhere")
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    told = json.loads(ended.stdout)
    assert told["arguments"] == ["--name", "a b"]
    assert (told["name"], told["folder"], told["parent"]) == ("__main__", str(tmp_path), server.pid)
    assert (told["environment"]["HOME"], told["environment"]["OF_THE_JOB"]) == ("elsewhere", "1")
    assert int(signal.SIGUSR1) in told["mask"]
    assert not told["ignored"]  # or it could not wait for processes of its own
    assert ended.stderr == "a word\n"


def test_forks_end_alone(server: subprocess.Popen[bytes], tmp_path: Path):
    """One that is killed takes neither the server nor another one with it, and its client ends."""
    script = tmp_path / "killed.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    environment = {**os.environ, **JOB, warm_client.SOCKET: str(tmp_path / "warm")}
    subprocess.run([sys.executable, warm_client.__file__, str(script)], env=environment, timeout=60, check=True)
    assert json.loads(start(tmp_path).stdout)["parent"] == server.pid


@pytest.mark.parametrize(
    "changed",
    [
        {"RAY_JOB_ID": "02000000"},
        {"RAY_RAYLET_PID": "1"},
        {"RAY_JOB_ID": "ffffffff"},
        {warm_client.SOCKET: "/nowhere"},
    ],
)
def test_a_worker_of_another_job_or_without_a_server_starts_as_ray_starts_it(
    server: subprocess.Popen[bytes], tmp_path: Path, changed: dict[str, str]
):
    ended = start(tmp_path, CONTEXT, **changed)
    assert ended.stdout == f"cold {[str(tmp_path / 'worker.py'), CONTEXT]}\n"


def test_a_server_that_dies_costs_no_worker(server: subprocess.Popen[bytes], tmp_path: Path):
    server.kill()
    server.wait()
    assert start(tmp_path).stdout.startswith("cold ")
    server.returncode = 0  # for the fixture: this end was wanted


def test_runtime_environments_of_more_than_variables_are_rays():
    def asked(**context: object) -> dict[str, str] | None:
        return variables([f"--serialized-runtime-env-context={json.dumps(context)}"])

    assert variables(["worker.py"]) == {}
    assert asked(env_vars={"A": "1"}, command_prefix=[], py_executable=sys.executable) == {"A": "1"}
    assert asked(command_prefix=["nice"]) is None
    assert asked(py_executable="uv run python") is None
    assert asked(override_worker_entrypoint="other.py") is None


def test_where_there_is_a_gpu_no_worker_is_forked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(warm_start, "_GPU_DEVICES", ("/nowhere",))
    assert can_fork()
    monkeypatch.setattr(warm_start, "_GPU_DEVICES", ("/nowhere", str(tmp_path)))
    assert not can_fork()
    with warm_start.warm_workers(str(tmp_path), trains=True) as warm:
        assert (warm.environment, warm.server) == ({}, None)
        warm.begin()
