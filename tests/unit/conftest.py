"""The small corpus, to be read by all tests of a file, and copies of it to be damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small_corpus import make_corpus

from genrescale.data.manifest import Manifest


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def copy(tmp_path: Path) -> Manifest:
    """A corpus of its own, to be damaged."""
    return make_corpus(tmp_path)
