"""The sharding job where processes die under it: a worker that is killed, songs that crash or hang their decoder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import soundfile
from helpers.deadly import HANG, make_deadly, write_deadly_soundfile
from helpers.job_runs import RunJob
from helpers.small_corpus import contents

ROOT = Path(__file__).parents[2]
NUM_SONGS = 32
SETTINGS = ("corpus=folder", "songs_per_shard=8", "seed=3", "max_failure_rate=0.1")

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 songs of 20 s: decoding a shard takes long enough to be hit."""
    folder = tmp_path_factory.mktemp("music")
    for i in range(NUM_SONGS):
        path = folder / ("rock", "jazz")[i % 2] / f"{i:02d}.flac"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(i).standard_normal((44_100 * 20, 1)), 44_100)
    return folder


def start(environment: dict[str, str], music: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "jobs/shard_corpus.py"), *SETTINGS, f"audio={music}", f"out={out}"]
    command.append("cpus=2")
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def shard(job: RunJob, music: Path, out: Path) -> Path:
    ended = job("shard_corpus", *SETTINGS, f"audio={music}", f"out={out}")
    assert ended.returncode == 0, ended.stderr
    return out


def finish(job: subprocess.Popen[str]) -> str:
    out, log = job.communicate(timeout=300)
    assert job.returncode == 0, log
    return out


@pytest.fixture(scope="module")
def undisturbed(job: RunJob, music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shard(job, music, tmp_path_factory.mktemp("undisturbed") / "shards")


def workers(job: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of the job's own Ray that write a shard now."""
    found = []
    for process in psutil.Process(job.pid).children(recursive=True):
        try:
            if "ray::write_shard" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_killed_worker_leaves_no_trace(environment: dict[str, str], music: Path, undisturbed: Path, tmp_path: Path):
    out = tmp_path / "shards"
    job = start(environment, music, out)
    killed, deadline = 0, time.monotonic() + 200
    while killed < 2 and job.poll() is None and time.monotonic() < deadline:
        begun = list(out.glob("shards/.*.part"))
        for process in workers(job)[: 1 if begun else 0]:
            process.send_signal(signal.SIGKILL)
            killed += 1
            time.sleep(0.3)
        time.sleep(0.01)
    finish(job)
    assert killed
    assert contents(out) == contents(undisturbed)


def test_songs_that_crash_or_hang_their_decoder_are_quarantined_by_name(
    environment: dict[str, str], job: RunJob, music: Path, tmp_path: Path
):
    write_deadly_soundfile(tmp_path / "modules")
    folder = Path(shutil.copytree(music, tmp_path / "music"))
    make_deadly(folder / "rock/10.flac")
    make_deadly(folder / "jazz/11.flac", HANG)
    crashing = {**environment, "PYTHONPATH": f"{tmp_path / 'modules'}{os.pathsep}{ROOT}"}
    found = finish(start(crashing, folder, tmp_path / "shards"))
    assert "2 songs in quarantine" in found
    table = pq.read_table(tmp_path / "shards/quarantine.parquet").to_pylist()
    assert [(row["path"], row["reason"]) for row in table] == [
        (f"{folder}/jazz/11.flac", "decoding took more than 60 s"),
        (f"{folder}/rock/10.flac", "the decoder crashed (signal 11)"),
    ]

    # the other songs are as if these had been found broken in the usual way
    (folder / "rock/10.flac").write_bytes(b"")
    (folder / "jazz/11.flac").write_bytes(b"")
    expected = contents(shard(job, folder, tmp_path / "expected"))
    shards = {name: data for name, data in expected.items() if name.endswith(".tar")}
    assert shards.items() <= contents(tmp_path / "shards").items()
