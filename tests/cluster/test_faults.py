"""A faulty network before a real S3 server: crops arrive whole, tries are counted, and patience ends in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import s3fs
from helpers.proxy import Fault, FaultyProxy, faulty_proxy
from helpers.servers import s3_server

from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.reading.crops import SongTable, read_crops
from genrescale.data.reading.shard_cache import ShardCache
from genrescale.data.reading.spans import DamagedShardError, ReadStats
from genrescale.storage.errors import StoreError
from genrescale.storage.retry import Patience
from genrescale.storage.store import Store

pytestmark = pytest.mark.cluster
CROP = 48_000
SONGS = np.arange(12)
STARTS = np.arange(12) * 100


@dataclass(frozen=True)
class Far:
    """The corpus behind the proxy, and what its crops must be."""

    table: SongTable
    proxy: FaultyProxy
    expected: np.ndarray

    def read(self) -> tuple[np.ndarray, ReadStats]:
        stats = ReadStats()
        return read_crops(self.table, SONGS, STARTS, CROP, stats=stats), stats


@pytest.fixture(scope="module")
def server_and_proxy(tmp_path_factory: pytest.TempPathFactory, corpus: Manifest) -> Iterator[Far]:
    with (
        pytest.MonkeyPatch.context() as patch,
        s3_server(tmp_path_factory.mktemp("s3")) as server,
        faulty_proxy(server.endpoint) as proxy,
    ):
        for name, value in {**server.environment, "AWS_ENDPOINT_URL": proxy.endpoint}.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        files, bucket = Store(corpus.uri), Store("s3://music/corpus")
        for path in files.list():
            bucket.write_bytes(path, files.read_bytes(path))
        rows = corpus.select("train")
        expected = read_crops(SongTable.of(corpus, rows), SONGS, STARTS, CROP)
        yield Far(SongTable.of(read_manifest(bucket.uri), rows, patience=Patience(8.0)), proxy, expected)
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def far(server_and_proxy: Far) -> Iterator[Far]:
    proxy = server_and_proxy.proxy
    proxy.always, proxy.coming = None, type(proxy.coming)()
    proxy.happened.clear()
    yield server_and_proxy
    proxy.always, proxy.coming = None, type(proxy.coming)()


def test_without_faults_nothing_is_tried_again(far: Far):
    found, stats = far.read()
    np.testing.assert_array_equal(found, far.expected)
    assert stats.retries == 0


@pytest.mark.parametrize("fault", [Fault("cut", 600), Fault("cut", 50_000), Fault("busy")], ids=str)
@pytest.mark.parametrize("times", [1, 5])
def test_a_fault_that_passes_costs_tries_and_no_audio(far: Far, fault: Fault, times: int):
    far.proxy.coming.extend([fault] * times)
    found, stats = far.read()
    np.testing.assert_array_equal(found, far.expected)
    assert far.proxy.happened[fault.kind] == stats.retries == times


@pytest.mark.parametrize("fault", [Fault("cut", 0), Fault("refuse")], ids=str)
def test_a_connection_that_ends_before_its_answer_is_made_anew(far: Far, fault: Fault):
    """An idle connection may have ended long before: the HTTP client sends a GET on it a second time by itself."""
    far.proxy.coming.extend([fault] * 20)
    found, stats = far.read()
    np.testing.assert_array_equal(found, far.expected)
    assert far.proxy.happened[fault.kind] == 20
    assert 1 <= stats.retries <= 20


def test_only_what_failed_is_read_again(far: Far):
    before = far.proxy.requests
    far.proxy.coming.extend([Fault("cut", 1000)] * 3)
    far.read()
    assert far.proxy.requests - before == len(SONGS) + 3


def test_a_slow_store_is_waited_for(far: Far):
    far.proxy.coming.extend([Fault("slow")] * 3)
    found, stats = far.read()
    np.testing.assert_array_equal(found, far.expected)
    assert stats.retries == 0


@pytest.mark.parametrize("fault", [Fault("cut", 1000), Fault("refuse"), Fault("busy")], ids=str)
def test_a_fault_that_stays_ends_patience_in_a_sentence(far: Far, fault: Fault):
    far.proxy.always = fault
    store = Store(far.table.store.uri, Patience(0.5))
    with pytest.raises(StoreError, match=r"shards/.*\.tar could not be read in [1-9] tries and 0\.\d s"):
        store.read_range(far.table.shard_names[0], 0, 1000)


def test_a_missing_shard_is_not_waited_for(far: Far):
    before = far.proxy.requests
    with pytest.raises(FileNotFoundError, match=r"s3://music/corpus/nothing\.tar does not exist"):
        far.table.store.read_range("nothing.tar", 0, 10)
    assert far.proxy.requests == before + 1


def test_damage_is_not_taken_for_a_fault(far: Far):
    store, name = far.table.store, far.table.shard_names[far.table.shard_N[0]]
    clean = store.read_bytes(name)
    broken = bytearray(clean)
    broken[int(far.table.offset_N[0]) + 7] ^= 1
    try:
        store.write_bytes(name, bytes(broken))
        before = far.proxy.requests
        with pytest.raises(DamagedShardError, match=f"second 0 of song {far.table.keys[0]}"):
            read_crops(far.table, SONGS[:1], STARTS[:1], CROP)
        assert far.proxy.requests == before + 1
    finally:
        store.write_bytes(name, clean)


def test_whole_shards_come_through_a_faulty_network(far: Far, tmp_path: Path):
    """A cache fetches in parts: each is tried again, and the copy is the shard."""
    table = replace(far.table, cache=ShardCache(str(tmp_path), 10**9))
    far.proxy.coming.extend([Fault("cut", 50_000), Fault("busy"), Fault("refuse"), Fault("cut", 600)])
    np.testing.assert_array_equal(read_crops(table, SONGS, STARTS, CROP), far.expected)
    assert far.proxy.happened["cut"] == 2
    before = far.proxy.requests
    np.testing.assert_array_equal(read_crops(table, SONGS, STARTS, CROP), far.expected)
    assert far.proxy.requests == before
    names = {table.shard_names[shard] for shard in table.shard_N[SONGS]}
    copies = sorted(path.read_bytes() for path in tmp_path.rglob("*.tar"))
    assert copies == sorted(table.store.read_bytes(name) for name in names)
    assert not list(tmp_path.rglob("*.part"))
