"""Whole shards on a node's disk: fetched once, the oldest forgotten, never trusted beyond their checksums."""

from __future__ import annotations

import multiprocessing
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from genrescale.config import DataConfig, RunConfig, SiteConfig
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.reading.crops import SongTable, read_crops
from genrescale.data.reading.shard_cache import FOLDER, Retried, ShardCache
from genrescale.data.reading.spans import DamagedShardError, ReadStats
from genrescale.storage.errors import StoreError
from genrescale.storage.store import Store
from genrescale.training.select import select_data

MB = 1_000_000


@pytest.fixture
def bucket(corpus: Manifest) -> Iterator[Store]:
    """The corpus in fsspec's memory: no folder, so its shards are fetched."""
    bucket, files = Store(f"memory://music-{uuid.uuid4().hex}"), Store(corpus.uri)
    for path in files.list():
        bucket.write_bytes(path, files.read_bytes(path))
    yield bucket
    bucket.delete(*bucket.list())


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The shards that were fetched, in order."""
    fetched: list[str] = []
    download = Store.download

    def counted(self: Store, path: str, target: Path, *retried: Retried) -> None:
        fetched.append(path)
        download(self, path, target, *retried)

    monkeypatch.setattr(Store, "download", counted)
    return fetched


def table_of(bucket: Store, folder: Path, limit: int = 100 * MB) -> SongTable:
    manifest = read_manifest(bucket.uri)
    return SongTable.of(manifest, manifest.select("train"), cache=ShardCache(str(folder), limit))


def read_all(table: SongTable) -> np.ndarray:
    return read_crops(table, np.arange(len(table)), np.full(len(table), 5_000), 30_000)


def test_crops_are_the_same_and_a_shard_is_fetched_once(
    corpus: Manifest, bucket: Store, tmp_path: Path, downloads: list[str]
):
    table = table_of(bucket, tmp_path)
    expected = read_all(SongTable.of(corpus, corpus.select("train")))
    for _ in range(2):
        np.testing.assert_array_equal(read_all(table), expected)
    assert sorted(downloads) == sorted({table.shard_names[shard] for shard in table.shard_N})


def test_what_was_used_longest_ago_goes_first(bucket: Store, tmp_path: Path, downloads: list[str]):
    shards = [path for path in bucket.list("shards") if path.endswith(".tar")][:3]
    sizes = [bucket.size(path) for path in shards]
    cache = ShardCache(str(tmp_path), sum(sizes) - 1)
    for path in (*shards[:2], shards[0]):
        cache.read(bucket, path, 0, 10)
    os.utime(next((tmp_path / FOLDER).glob(f"{Path(shards[1]).stem}-*.tar")), ns=(0, 0))
    cache.read(bucket, shards[2], 0, 10)
    assert [cache.has(bucket, path) for path in shards] == [True, False, True]
    assert sum(file.stat().st_size for file in (tmp_path / FOLDER).glob("*.tar")) <= cache.limit_bytes
    cache.read(bucket, shards[1], 0, 10)
    assert downloads == [*shards, shards[1]]


def test_a_damaged_copy_is_fetched_anew(bucket: Store, tmp_path: Path, downloads: list[str]):
    table = table_of(bucket, tmp_path)
    expected = read_all(table)
    fetched = len(downloads)
    for copy in (tmp_path / FOLDER).glob("*.tar"):
        copy.write_bytes(bytes(copy.stat().st_size))
    np.testing.assert_array_equal(read_all(table), expected)
    assert len(downloads) == 2 * fetched


def test_damage_in_the_bucket_is_found_through_the_cache(bucket: Store, tmp_path: Path):
    table = table_of(bucket, tmp_path)
    name = table.shard_names[table.shard_N[0]]
    data = bytearray(bucket.read_bytes(name))
    data[int(table.offset_N[0]) + 7] ^= 1
    bucket.write_bytes(name, bytes(data))
    with pytest.raises(DamagedShardError, match=f"second 0 of song {table.keys[0]} does not match its checksum"):
        read_crops(table, np.zeros(1, np.int64), np.zeros(1, np.int64), 30_000)
    bucket.delete(name)
    table.cache.drop(bucket, name)  # type: ignore[union-attr]
    with pytest.raises(DamagedShardError, match=r"cannot be read \(it does not exist\)"):
        read_crops(table, np.zeros(1, np.int64), np.zeros(1, np.int64), 30_000)


def fetch_slowly(cache: ShardCache, folder: str, path: str, count: multiprocessing.Queue[int]) -> None:
    """In a process of its own: a shard of a local folder, as if it were far."""
    download = Store.download

    def counted(self: Store, path: str, target: Path, *retried: Retried) -> None:
        count.put(1)
        download(self, path, target, *retried)

    Store.download = counted  # type: ignore[method-assign]
    assert len(cache.read(Store(folder), path, 0, 1000)) == 1000


def test_processes_that_need_the_same_shard_fetch_it_once(corpus: Manifest, tmp_path: Path):
    context = multiprocessing.get_context("fork")
    count: multiprocessing.Queue[int] = context.Queue()
    arguments = (ShardCache(str(tmp_path), 100 * MB), corpus.uri, corpus.shard_name(0), count)
    processes = [context.Process(target=fetch_slowly, args=arguments) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    assert count.get(timeout=300) == 1
    assert count.empty()


def test_a_full_disk_is_named(bucket: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_room(self: Store, path: str, target: Path, *retried: Retried) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "download", no_room)
    with pytest.raises(StoreError, match=r"the disk of .* became full .* use a smaller site\.shard_cache_gb"):
        ShardCache(str(tmp_path), MB).read(bucket, "shards/train-000000.tar", 0, 10)
    assert not list((tmp_path / FOLDER).glob("*.part"))


def test_a_site_gives_its_runs_a_cache(bucket: Store, tmp_path: Path):
    run = RunConfig(data=DataConfig(size=40, crop_s=3.0, sampler="windows"))
    source = select_data(run, read_manifest(bucket.uri)).source(SiteConfig(shard_cache=str(tmp_path)))
    assert source.tables["train"].cache == ShardCache(str(tmp_path), 50_000 * MB)
    assert select_data(run, read_manifest(bucket.uri)).source().tables["train"].cache is None
    read_crops(source.tables["train"], np.zeros(1, np.int64), np.zeros(1, np.int64), 48_000)
    assert list((tmp_path / FOLDER).glob("*.tar"))


def test_a_cache_is_an_absolute_folder():
    with pytest.raises(ValueError, match=r"shard_cache='cache' must be an absolute path"):
        SiteConfig(shard_cache="cache")


def test_retries_are_counted_through_the_cache_too(bucket: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    table, tried = table_of(bucket, tmp_path), []
    try_ranges = Store._try_ranges

    def broken_once(self: Store, ranges: Sequence[tuple[str, int, int]]) -> list[memoryview | Exception]:
        tried.append(ranges)
        return [ConnectionResetError("cut") for _ in ranges] if len(tried) == 1 else try_ranges(self, ranges)

    monkeypatch.setattr(Store, "_try_ranges", broken_once)
    stats = ReadStats()
    read_crops(table, np.zeros(1, np.int64), np.zeros(1, np.int64), 30_000, stats=stats)
    assert stats.retries == 1
