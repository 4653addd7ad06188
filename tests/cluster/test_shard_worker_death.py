"""The sharding job where processes die under it: workers that are killed, a song that crashes its decoder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import soundfile
from helpers.deadly import make_deadly, write_deadly_soundfile
from helpers.job_runs import RunJob
from helpers.processes import descendants
from helpers.small_corpus import contents

ROOT = Path(__file__).parents[2]
NUM_SONGS = 32
SETTINGS = ("corpus=folder", "songs_per_shard=8", "seed=3", "max_failure_rate=0.1")

pytestmark = pytest.mark.cluster


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """32 songs of 20 s: decoding a shard takes long enough to be hit."""
    folder = tmp_path / "music"
    for i in range(NUM_SONGS):
        path = folder / ("rock", "jazz")[i % 2] / f"{i:02d}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(i).standard_normal((44_100 * 20, 1)), 44_100)
    return folder


def shard(job: RunJob, music: Path, out: Path) -> Path:
    ended = job("shard_corpus", *SETTINGS, f"audio={music}", f"out={out}")
    assert ended.returncode == 0, ended.stderr
    return out


def test_a_killed_worker_leaves_no_trace_and_a_crashing_decoder_costs_its_song(
    environment: dict[str, str], job: RunJob, music: Path, tmp_path: Path
):
    """A job whose workers are killed twice, with a song that crashes its decoder (test_isolated.py: one that hangs)."""
    write_deadly_soundfile(tmp_path / "modules")
    make_deadly(music / "rock/10.flac")
    crashing = {**environment, "PYTHONPATH": f"{tmp_path / 'modules'}{os.pathsep}{ROOT}"}
    out = tmp_path / "shards"
    command = [sys.executable, str(ROOT / "jobs/shard_corpus.py"), *SETTINGS, f"audio={music}", f"out={out}", "cpus=2"]
    disturbed = subprocess.Popen(command, env=crashing, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = 0
    while killed < 2 and disturbed.poll() is None:
        begun = list(out.glob("shards/.*.part"))
        for process in descendants(disturbed.pid, "ray::write_shard")[: 1 if begun else 0]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
                killed += 1
            time.sleep(0.3)
        time.sleep(0.01)
    told, log = disturbed.communicate(timeout=300)
    assert disturbed.returncode == 0, log
    assert killed
    assert "1 song in quarantine" in told
    table = pq.read_table(out / "quarantine.parquet").to_pylist()
    assert [(row["path"], row["reason"]) for row in table] == [
        (f"{music}/rock/10.flac", "the decoder crashed (signal 11)"),
    ]

    # the other songs are as if this one had been found broken in the usual way
    (music / "rock/10.flac").write_bytes(b"")
    expected = contents(shard(job, music, tmp_path / "expected"))
    shards = {name: data for name, data in expected.items() if name.endswith(".tar")}
    assert shards
    assert shards.items() <= contents(out).items()
