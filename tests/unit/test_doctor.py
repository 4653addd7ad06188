"""The doctor finds each fault that is really there, and says what to mend; a healthy machine has none."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.job_runs import run
from helpers.picky import picky
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from genrescale.doctor import machine, stores
from genrescale.doctor.finding import Finding, State, examined, ok
from genrescale.doctor.machine import check_disk, check_gpus, check_memory, check_ports, check_shm
from genrescale.doctor.software import Pins, check_ffmpeg, check_packages, check_python, installed_versions, read_pins
from genrescale.doctor.stores import check_clock, check_rights, clock_finding
from genrescale.storage.store import Store

PINS = Pins(SpecifierSet(">=3.11,<3.13"), (Requirement("torch==2.11.0"), Requirement("rich>=13")))


def states(findings: object) -> dict[str, State]:
    assert isinstance(findings, list)
    return {finding.check: finding.state for finding in findings}


def test_this_environment_fits_the_pins():
    pins = read_pins()
    assert {required.name for required in pins.packages} >= {"torch", "ray", "deepspeed", "pyarrow"}
    assert states([*check_python(pins), *check_packages(pins, installed_versions(pins))]) == {
        **dict.fromkeys(("python", "torch", "ray", "deepspeed", "other packages"), "ok")
    }


@pytest.mark.parametrize(
    ("version", "state"), [("3.11.0", "ok"), ("3.12.9", "ok"), ("3.10.14", "fault"), ("3.13.0", "fault")]
)
def test_another_python(version: str, state: State):
    (finding,) = check_python(PINS, version)
    assert finding.state == state
    assert version in finding.found


def test_packages_that_are_wrong_or_absent():
    wrong, missing, others = check_packages(PINS, {"torch": "2.10.0", "rich": None})
    assert (wrong.check, wrong.state, wrong.found) == ("torch", "fault", "2.10.0, but ==2.11.0 is needed")
    assert (missing.check, missing.state) == ("rich", "fault")
    assert "make env" in missing.mend
    assert others.state == "ok"
    (torch, _) = check_packages(PINS, {"torch": "2.11.0+cpu", "rich": "14.0"})
    assert (torch.state, torch.found) == ("ok", "2.11.0+cpu")


def test_an_ffmpeg_that_is_none_and_one_that_is_not_there(tmp_path: Path):
    pretender = tmp_path / "ffmpeg"
    pretender.write_text("#!/bin/sh\necho hello\n")
    pretender.chmod(0o755)
    assert states(list(check_ffmpeg(str(pretender)))) == {"ffmpeg": "fault"}
    (gone,) = check_ffmpeg(str(tmp_path / "gone"))
    assert "does not run" in gone.found
    pretender.write_text("#!/bin/sh\necho ffmpeg version 7.1-test Copyright\n")
    (fine,) = check_ffmpeg(str(pretender))
    assert (fine.state, fine.found) == ("ok", f"7.1-test ({pretender})")


def small_disk(free: int, total: int, files: int = 10**6) -> os.statvfs_result:
    return os.statvfs_result((4096, 4096, total // 4096, free // 4096, free // 4096, files, files, files, 0, 255))


@pytest.mark.parametrize(("free", "state"), [(60e6, "fault"), (1e9, "warning"), (8e9, "ok")])
def test_shared_memory(free: float, state: State, monkeypatch: pytest.MonkeyPatch):
    """64 MB are what a container has without --shm-size."""
    monkeypatch.setattr(os, "statvfs", lambda _: small_disk(int(free), int(free)))
    (finding,) = check_shm()
    assert finding.state == state


def test_a_shared_memory_that_is_really_too_small(tmp_path: Path):
    """A tmpfs of 64 MB, mounted in a namespace of its own."""
    code = (
        "from genrescale.doctor.machine import check_shm; "
        f"(finding,) = check_shm({str(tmp_path)!r}); print(finding.state, finding.found)"
    )
    inner = f'mount -t tmpfs -o size=64m none {tmp_path} && exec "$0" -c "$1"'
    command = ["unshare", "-rm", "sh", "-c", inner, sys.executable, code]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if ended.returncode and "unshare" in ended.stderr:
        pytest.skip(f"no namespaces of one's own here: {ended.stderr.strip()}")
    assert ended.stdout.startswith("fault 0.1 of 0.1 GB free"), ended.stderr


@pytest.mark.parametrize(
    ("free", "total", "files", "state"),
    [
        (0.5e9, 2e9, 10**6, "fault"),
        (4e9, 100e9, 10**6, "fault"),
        (8e9, 100e9, 10**6, "warning"),
        (50e9, 100e9, 500, "warning"),
        (50e9, 100e9, 10**6, "ok"),
        (50e9, 100e9, 0, "ok"),
    ],
)
def test_disk(free: float, total: float, files: int, state: State, monkeypatch: pytest.MonkeyPatch):
    """Some file systems have no number of files: 0 says so."""
    monkeypatch.setattr(os, "statvfs", lambda _: small_disk(int(free), int(total), files))
    (finding,) = check_disk()
    assert finding.state == state


def test_little_memory(monkeypatch: pytest.MonkeyPatch):
    class Memory:
        available, total = 1e9, 4e9

    monkeypatch.setattr(machine.psutil, "virtual_memory", Memory)
    (finding,) = check_memory()
    assert (finding.state, finding.found) == ("fault", "1.0 of 4.0 GB available")


def test_a_gpu_that_is_wanted_and_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(machine.shutil, "which", lambda _: None)
    assert states(list(check_gpus(wanted=True))) == {"gpus": "fault"}
    assert states(list(check_gpus(wanted=False))) == {"gpus": "ok"}
    monkeypatch.setattr(machine.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert states(list(check_gpus(wanted=False))) == {"gpus": "warning"}


def test_a_port_of_ray_that_is_taken(monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(machine, "RAY_PORTS", {port: "the test's"})
        loopback, ports = check_ports()
    assert (loopback.state, ports.state) == ("ok", "warning")
    assert f"taken: {port} (the test's)" in ports.found
    assert next(iter(reversed(list(check_ports())))).state == "ok"


def test_a_machine_without_free_descriptors_has_a_fault_of_loopback():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), hard))
    try:
        (finding, *_) = check_ports()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert finding.state == "fault"
    assert "ulimit -n" in finding.mend


def test_a_folder_gives_every_right_and_keeps_nothing(tmp_path: Path):
    rights = states(list(check_rights(Store(str(tmp_path)))))
    assert rights == dict.fromkeys(("store put", "store get", "store list", "store if absent", "store delete"), "ok")
    assert list(tmp_path.rglob("*.json")) == []


def test_a_folder_that_cannot_be_written_to(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    (put,) = check_rights(Store(f"{tmp_path}/file"))
    assert (put.check, put.state) == ("store put", "fault")
    assert "file" in put.found


@pytest.mark.parametrize(("ahead_s", "state"), [(0, "ok"), (-120, "warning"), (120, "warning"), (-3600, "fault")])
def test_a_server_with_another_time(ahead_s: float, state: State):
    """The server behind the picky one is not asked: it refuses by itself, and tells the time all the same."""
    with picky("http://127.0.0.1:9") as rules:
        rules.denied, rules.ahead_s = {"HEAD"}, ahead_s
        (finding,) = check_clock(rules.endpoint)
    assert finding.state == state
    assert ("behind" if ahead_s > 0 else "ahead of") in finding.found or not ahead_s
    assert finding.state == "ok" or "NTP" in finding.mend


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch):
    (finding,) = check_clock("http://127.0.0.1:9")
    assert finding.state == "fault"
    assert "does not answer" in finding.found


@pytest.mark.parametrize(("uri", "endpoint"), [("/data", None), ("s3://music/a", "https://s3.eu-west-3.amazonaws.com")])
def test_the_clock_that_is_asked(uri: str, endpoint: str | None, monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert stores.endpoint_of(uri) == endpoint


def test_a_check_that_breaks_is_a_fault_and_names_no_password():
    def broken() -> list[Finding]:
        raise RuntimeError("http://user:hunter2@server/x\nis odd")

    (finding,) = examined("gpus", broken)
    assert (finding.check, finding.state) == ("gpus", "fault")
    assert "RuntimeError: http://server/x is odd" in finding.found


def test_lines_are_aligned_and_tell_what_to_mend():
    lines = ok("python", "3.11").lines(), clock_finding("clock", 40.0, "the store").lines()
    assert lines[0] == "ok       python              3.11"
    first, second = lines[1].splitlines()
    assert first == "warning  clock               40.0 s ahead of the store"
    assert second.startswith(" " * 29 + "mend: set this machine's clock")


def test_the_job_counts_faults_in_its_exit_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fine = run("doctor", "ray=false", f"store={tmp_path}")
    assert fine.returncode == 0, fine.stdout
    assert "0 faults" in fine.stdout
    assert "ok       store delete" in fine.stdout
    monkeypatch.setattr("genrescale.doctor.machine.SHM", "/nowhere")
    monkeypatch.setattr(os, "statvfs", lambda _: small_disk(1000, 10**9))
    ill = run("doctor", "ray=false")
    assert ill.returncode == 1
    assert "fault    shared memory" in ill.stdout
    assert "mend: " in ill.stdout
