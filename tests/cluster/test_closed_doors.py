"""A running sweep on a shared machine lets nobody in: not another user, not another host."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from helpers.dashboards import dashboard_answers
from helpers.sweeps import ONE_SIZE

from genrescale.data.manifest import Manifest

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
KNOCK = ROOT / "tests/helpers/knock.py"
NET = "10.78.0"
CANARY = "5ecret0f7hebucketthatn0b0dysees"


@pytest.fixture(scope="module")
def needs_root() -> None:
    if os.geteuid() != 0 or not shutil.which("ip"):
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs root and iproute2, to become another user and another host")
        pytest.skip("becoming another user and another host needs root and iproute2")


def tree(job: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]


def listening(job: subprocess.Popen[bytes]) -> dict[tuple[str, int], str]:
    """The sockets of a job's processes that take connections, and whose they are."""
    doors = {}
    for process in tree(job):
        try:
            for socket in process.net_connections("inet"):
                if socket.status == psutil.CONN_LISTEN:
                    doors[socket.laddr.ip, socket.laddr.port] = process.name()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return doors


@pytest.fixture(scope="module")
def training(
    needs_root: None, corpus: Manifest, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[subprocess.Popen[bytes]]:
    """A sweep of two workers while both train. Two logical CPUs are enough for it."""
    out = tmp_path_factory.mktemp("closed") / "sweep"
    job = subprocess.Popen(
        [
            *(sys.executable, "jobs/scale_sweep.py", *ONE_SIZE, "families=[waveform]", "cpus=2"),
            *("site.workers=2", "site.cpus_per_worker=0.5", "site.data_cpus=0.5"),
            *("optim.max_steps=100000", "optim.patience_steps=0", f"corpus={corpus.uri}", f"out={out}"),
        ],
        cwd=ROOT,
        env={**environment, "AWS_SECRET_ACCESS_KEY": CANARY, "AWS_ACCESS_KEY_ID": CANARY[::-1]},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not list(out.glob("checkpoints/*/*/checkpoint_manager_snapshot.json")):
            assert job.poll() is None, "the sweep ended before it was looked at"
            time.sleep(0.2)
        yield job
    finally:
        for process in reversed(tree(job)):
            if process.is_running():
                process.kill()
        job.wait()


def is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def test_nothing_listens_beyond_loopback(training: subprocess.Popen[bytes]):
    doors = listening(training)
    assert {name for name in doors.values() if name in ("raylet", "gcs_server")} == {"raylet", "gcs_server"}
    assert [(door, name) for door, name in doors.items() if not is_loopback(door[0])] == []


def test_another_user_without_the_token_is_turned_away(training: subprocess.Popen[bytes], environment: dict[str, str]):
    doors = [f"127.0.0.1:{port}" for _, port in listening(training)]
    pids = ",".join(str(process.pid) for process in tree(training))
    [private] = (ray.parent for ray in Path(environment["TMPDIR"]).glob("gr-*/ray"))
    ended = subprocess.run(
        [sys.executable, str(KNOCK), pids, str(private), *doors], capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {}
    assert not Path("/tmp/genrescale-stranger").exists()


def test_the_knocking_would_be_heard_with_the_token(training: subprocess.Popen[bytes]):
    """The same request with the token is served: the doors are closed, not absent."""
    token = psutil.Process(training.pid).environ() | next(
        process.environ() for process in tree(training) if process.name() == "raylet"
    )
    dashboard = [port for (_, port), name in listening(training).items() if "python" in name.lower()]
    answers, header = [], ["-H", f"Authorization: Bearer {token['RAY_AUTH_TOKEN']}"]
    for port in dashboard:
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://127.0.0.1:{port}/api/jobs/"]
        answers.append(subprocess.run([*command, *header], capture_output=True, text=True, timeout=30).stdout)
    assert "200" in answers
    [port] = [port for port, answer in zip(dashboard, answers, strict=True) if answer == "200"][:1]
    for path, answer in dashboard_answers(f"http://127.0.0.1:{port}", token["RAY_AUTH_TOKEN"]).items():
        assert not [secret for secret in (CANARY, CANARY[::-1], token["RAY_AUTH_TOKEN"]) if secret in answer], path


def test_the_keys_of_the_bucket_are_in_no_file_of_a_private_sweep(
    training: subprocess.Popen[bytes], environment: dict[str, str]
):
    """Its logs, its settings, its sockets' folders: what others may get to see one day."""
    token = next(process.environ() for process in tree(training) if process.name() == "raylet")["RAY_AUTH_TOKEN"]
    secrets = [secret.encode() for secret in (CANARY, CANARY[::-1], token)]
    files = [path for path in Path(environment["TMPDIR"]).rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.name.startswith("worker-") for path in files)
    for path in files:
        with suppress(FileNotFoundError):
            data = path.read_bytes()
            assert not any(secret in data for secret in secrets), path


def test_another_host_finds_no_open_port(training: subprocess.Popen[bytes]):
    """A network namespace with a cable to this one is another host of the same network."""
    ports = [str(port) for _, port in listening(training)]
    name = f"gr-stranger-{os.getpid()}"
    link = f"grs{os.getpid() % 100000}"
    connect = f"""
import socket, sys
for port in sys.argv[1:]:
    with socket.socket() as door:
        door.settimeout(3)
        if door.connect_ex(("{NET}.1", int(port))) == 0:
            print(port)
"""
    try:
        for command in (
            f"ip netns add {name}",
            f"ip link add {link} type veth peer name eth0 netns {name}",
            f"ip addr add {NET}.1/24 dev {link}",
            f"ip link set {link} up",
            f"ip -n {name} addr add {NET}.2/24 dev eth0",
            f"ip -n {name} link set eth0 up",
        ):
            subprocess.run(command.split(), check=True, timeout=30)
        inside = ["ip", "netns", "exec", name, sys.executable, "-c", connect, *ports]
        ended = subprocess.run(inside, capture_output=True, text=True, timeout=300)
        assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    finally:
        subprocess.run(["ip", "netns", "del", name], timeout=30, check=False)
        subprocess.run(["ip", "link", "del", link], timeout=30, check=False, stderr=subprocess.DEVNULL)
