"""One writer at a time where it matters: in a bucket of a real server, and for two jobs as processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import s3fs
import soundfile
from helpers.job_runs import RunJob
from helpers.leases import check_commit, check_one_writer, check_race, check_takeover, enter, hold_elsewhere
from helpers.servers import S3Server

from genrescale.data.manifest import read_manifest
from genrescale.storage import lease as leases
from genrescale.storage.errors import BusyError
from genrescale.storage.lease import LEASE_PATH
from genrescale.storage.store import Store

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Store:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # clients of another test's server
    return Store(f"s3://music/{request.node.name} [2]::x")


def test_one_job_writes_at_a_time(bucket: Store):
    check_one_writer(bucket)


def test_of_several_jobs_at_once_one_gets_the_lease(bucket: Store):
    check_race(bucket)


def test_a_job_that_lost_its_lease_publishes_nothing(bucket: Store):
    check_takeover(bucket)


def test_a_job_that_loses_its_lease_at_the_last_moment_publishes_nothing(bucket: Store):
    check_commit(bucket)


def test_the_age_of_a_lease_is_by_the_clock_of_the_server(bucket: Store, monkeypatch: pytest.MonkeyPatch):
    hold_elsewhere(bucket)
    assert 0 <= bucket.age_s(LEASE_PATH) < leases.EXPIRY_S
    with pytest.raises(BusyError):
        enter(bucket)
    while bucket.age_s(LEASE_PATH) < 1:
        time.sleep(0.1)
    monkeypatch.setattr(leases, "EXPIRY_S", 1.0)
    enter(bucket)
    assert bucket.list() == []


def music(folder: Path) -> None:
    for i in range(12):
        path = folder / ("rock", "jazz")[i % 2] / f"{i:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(i).standard_normal(44_100 * 2), 44_100)


def test_two_jobs_at_once_into_one_corpus(environment: dict[str, str], job: RunJob, tmp_path: Path):
    """The first is stopped in the middle: the second is refused, takes over once the first is dead, and is whole."""
    music(tmp_path / "music")
    out = tmp_path / "shards"
    settings = (f"audio={tmp_path / 'music'}", f"out={out}", "songs_per_shard=1")
    command = [sys.executable, "jobs/shard_corpus.py", *settings, "cpus=1"]
    first = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    while not (out / LEASE_PATH).exists():
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    refused = job("shard_corpus", *settings)
    assert refused.returncode == 2
    assert f"shard_corpus: {out} is being written by shard_corpus (process {first.pid} on " in refused.stderr
    first.send_signal(signal.SIGCONT)
    first.kill()
    first.wait()
    done = job("shard_corpus", *settings)
    assert done.returncode == 0, done.stderr
    assert len(read_manifest(str(out))) == 12
    assert not [path for path in Store(str(out)).list() if path == LEASE_PATH or path.endswith(".part")]
