"""What tests of jobs share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """A temporary folder of its own for each job's Ray, with a short path: sockets have at most 107 characters."""
    folder = tempfile.mkdtemp(prefix="gs-", dir="/tmp")
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    yield {**inherited, "TMPDIR": folder, "PYTHONPATH": str(ROOT)}
    shutil.rmtree(folder, ignore_errors=True)
