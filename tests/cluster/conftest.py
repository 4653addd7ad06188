"""What tests of jobs share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sweeps import ONE_SIZE

from genrescale.data.manifest import Manifest
from genrescale.storage.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """A temporary folder of its own for each job's Ray, with a short path: sockets have at most 107 characters."""
    folder = tempfile.mkdtemp(prefix="gs-", dir="/tmp")
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    yield {**inherited, "TMPDIR": folder, "PYTHONPATH": str(ROOT)}
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def near(corpus: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The sweep ONE_SIZE as a private Ray runs it on local folders: what a cluster or a bucket must end with, too."""
    out = tmp_path_factory.mktemp("near")
    command = [sys.executable, "jobs/scale_sweep.py", *ONE_SIZE, f"corpus={corpus.uri}", f"out={out}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return Store(str(out))
