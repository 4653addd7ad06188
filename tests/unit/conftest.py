"""The small corpus, to be read by all tests of a file, and copies of it to be damaged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.small_corpus import make_corpus

from genrescale.data.manifest import Manifest, read_manifest


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_corpus(tmp_path_factory.mktemp("corpus")).uri)


@pytest.fixture(scope="module")
def manifest(made: Path) -> Manifest:
    return read_manifest(str(made))


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Manifest:
    """A corpus of its own, to be damaged."""
    shutil.copytree(made.parent, tmp_path, dirs_exist_ok=True)
    return read_manifest(str(tmp_path / "out"))


@pytest.fixture(scope="session", autouse=True)
def no_warm_workers() -> Iterator[None]:
    """Jobs that run here without their Ray start no process for its workers either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genrescale.launch.warm_start.can_fork", lambda: False)
        yield
