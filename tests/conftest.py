"""Fixtures: a small real corpus (synthesised, encoded, decoded, sharded), made once per session without Ray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import list_songs
from genrescale.data.manifest import Manifest
from genrescale.data.sharding.job import shard_tasks, write_corpus
from genrescale.data.sharding.plan import make_plan
from genrescale.data.sharding.writer import write_shard
from genrescale.data.synthesis.write import write_song, write_table
from genrescale.models.parts.fused import library
from genrescale.storage.store import Store
from genrescale.training.engine import single_process_group

NUM_SONGS = 90


@pytest.fixture(scope="session")
def audio_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoded synthetic songs of 3.1 to 5 s with their table."""
    folder = tmp_path_factory.mktemp("audio")
    store = Store(str(folder))
    write_table(store, [write_song(store, seed=5, index=index, min_s=3.1, max_s=5.0) for index in range(NUM_SONGS)])
    return folder


@pytest.fixture(scope="session")
def corpus(audio_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The same songs as shards of 16 songs."""
    songs, vocabulary = list_songs("synthetic", str(audio_folder))
    out = Store(str(tmp_path_factory.mktemp("shards")))
    plan = make_plan(songs, vocabulary, ShardSettings(songs_per_shard=16, val_fraction=0.2, test_fraction=0.2))
    for task in shard_tasks(plan, out, {}):
        write_shard(task)
    return write_corpus(plan, out).manifest


@pytest.fixture(scope="session")
def process_group() -> Iterator[None]:
    """One process group for every test that trains in this process: DeepSpeed keeps the first that it sees."""
    with single_process_group():
        yield


@pytest.fixture(scope="session")
def compiled_layers() -> None:
    """The fused layers in C++. Without a compiler the test is skipped; in CI that is a failure."""
    if library() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs a C++ compiler")
        pytest.skip("no C++ compiler: training uses PyTorch's own layers here, which round otherwise")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real labels, weights and audio beside the checkout. Absent, the test is skipped; in CI that is a failure."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs the real data in {folder}")
        pytest.skip(f"no real data in {folder}")
    return folder
