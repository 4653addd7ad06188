"""Every read is verified: what a shard holds and the manifest says must agree, or the read names the place."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genrescale.audio import SAMPLE_RATE, SPLITS
from genrescale.config import DataConfig, RunConfig
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.reading.crops import SongTable, read_crops
from genrescale.data.reading.source import local_stream
from genrescale.data.reading.spans import DamagedShardError, mapped_shard
from genrescale.storage.store import Store
from genrescale.training.select import select_data


@pytest.fixture
def copy(corpus: Manifest, tmp_path: Path) -> Manifest:
    shutil.copytree(corpus.uri, tmp_path / "copy")
    mapped_shard.cache_clear()
    return read_manifest(str(tmp_path / "copy"))


def table_of(manifest: Manifest) -> SongTable:
    return SongTable.of(manifest, manifest.select("train"))


def read(table: SongTable, song: int, start: int, length: int) -> np.ndarray:
    return read_crops(table, np.array([song]), np.array([start]), length)[0]


def pcm_of(manifest: Manifest, key: str, shard: str) -> np.ndarray:
    with tarfile.open(Path(manifest.uri, shard)) as tar:
        member = tar.extractfile(f"{key}.pcm")
        assert member is not None
        return np.frombuffer(member.read(), "<i2")


def test_a_crop_is_the_songs_audio_wherever_it_starts(corpus: Manifest):
    table = table_of(corpus)
    for song in (0, 17, len(table) - 1):
        whole = pcm_of(corpus, table.keys[song].as_py(), table.shard_names[table.shard_N[song]])
        assert len(whole) == table.len_N[song]
        for start in (0, 1, SAMPLE_RATE - 1, SAMPLE_RATE, 20_001, len(whole) - 16_000):
            np.testing.assert_array_equal(read(table, song, start, 16_000), whole[start : start + 16_000])


def test_a_bucket_gives_the_same_crops_and_names_its_damage(corpus: Manifest):
    bucket = Store("memory://crops")
    files = Store(corpus.uri)
    for path in files.list():
        bucket.write_bytes(path, files.read_bytes(path))
    near, far = table_of(corpus), table_of(read_manifest(bucket.uri))
    songs_n, starts_n = np.array([5, 0, 17, 5]), np.array([100, 0, 20_001, 16_000])
    np.testing.assert_array_equal(
        read_crops(far, songs_n, starts_n, 40_000), read_crops(near, songs_n, starts_n, 40_000)
    )
    shard = far.shard_names[far.shard_N[5]]
    data = bytearray(bucket.read_bytes(shard))
    data[int(far.offset_N[5]) + 5] ^= 1
    bucket.write_bytes(shard, bytes(data))
    with pytest.raises(DamagedShardError, match=f"second 0 of song {far.keys[5]}"):
        read(far, 5, 0, 100)
    bucket.write_bytes(shard, bytes(data[: int(far.offset_N[5]) + 5]))
    with pytest.raises(DamagedShardError, match=f"truncated: song {far.keys[5]}"):
        read(far, 5, 0, 100)
    bucket.delete(shard)
    with pytest.raises(DamagedShardError, match=f"{shard}.*does not exist"):
        read(far, 5, 0, 100)


def test_a_crop_longer_than_the_song_is_padded_with_silence(corpus: Manifest):
    table = table_of(corpus)
    length = int(table.len_N[0])
    crop = read(table, 0, 0, length + 500)
    np.testing.assert_array_equal(crop[:length], pcm_of(corpus, table.keys[0].as_py(), table.shard_names[0]))
    assert (crop[length:] == 0).all()


def test_a_flipped_bit_is_named_by_song_and_second(copy: Manifest):
    table = table_of(copy)
    shard = Path(copy.uri, table.shard_names[table.shard_N[3]])
    data = bytearray(shard.read_bytes())
    data[int(table.offset_N[3]) + 2 * SAMPLE_RATE * 2 + 5] ^= 1  # in its second 2
    shard.write_bytes(data)
    read(table, 3, 0, SAMPLE_RATE)  # seconds 0 and 1 are whole
    with pytest.raises(
        DamagedShardError, match=rf"second 2 of song {table.keys[3]} does not match its checksum.*verify"
    ):
        read(table, 3, SAMPLE_RATE + 1, SAMPLE_RATE)


def test_a_truncated_shard_is_named(copy: Manifest):
    table = table_of(copy)
    shard = Path(copy.uri, table.shard_names[table.shard_N[0]])
    shard.write_bytes(shard.read_bytes()[: int(table.offset_N[0]) + 1000])
    with pytest.raises(DamagedShardError, match=rf"{shard.name}.* is truncated: song {table.keys[0]}"):
        read(table, 0, 0, SAMPLE_RATE)


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_missing_or_empty_shard_is_named(copy: Manifest, how: str):
    table = table_of(copy)
    shard = Path(copy.uri, table.shard_names[table.shard_N[0]])
    shard.unlink()
    if how == "empty":
        shard.write_bytes(b"")
    with pytest.raises(DamagedShardError, match=shard.name):
        read(table, 0, 0, SAMPLE_RATE)


def test_swapped_shards_are_found(copy: Manifest):
    first, second = (Path(copy.uri, name) for name in table_of(copy).shard_names[:2])
    parked = first.with_suffix(".parked")
    first.rename(parked)
    second.rename(first)
    parked.rename(second)
    with pytest.raises(DamagedShardError):
        read(table_of(copy), 0, 0, 3 * SAMPLE_RATE)


def test_sizes_are_nested(corpus: Manifest):
    keys = {size: corpus.songs["key"].take(corpus.select("train", size)).to_pylist() for size in (8, 20, 40)}
    assert keys[20][:8] == keys[8]
    assert keys[40][:20] == keys[20]


def test_the_stream_delivers_the_plan_with_its_labels(corpus: Manifest):
    run = RunConfig(data=DataConfig(size=20, crop_s=3.0, batch=8, group=4))
    source = select_data(replace(run, optim=replace(run.optim, max_steps=3, validate_every=2)), corpus).source()
    items = list(source.plan.items(0, 1))
    groups = list(local_stream(source, items))
    assert [group.id for group in groups] == items
    assert {group.id.kind for group in groups} == {"train", "validation"}
    for group in groups:
        assert group.wave_nT.shape == (len(group), 3 * SAMPLE_RATE)
        assert group.wave_nT.dtype == np.int16
        np.testing.assert_array_equal(group.labels_nK, source.tables[group.id.kind].labels_NK[group.songs_n])


def test_shuffled_labels_are_the_same_labels_on_other_songs(corpus: Manifest):
    tables = {}
    for mode in ("true", "shuffled"):
        tables[mode] = select_data(RunConfig(data=DataConfig(size=40, crop_s=3.0, labels=mode)), corpus).source().tables
    true, shuffled = (tables[mode]["train"].labels_NK for mode in ("true", "shuffled"))
    np.testing.assert_array_equal(np.sort(true, axis=0), np.sort(shuffled, axis=0))
    assert (true != shuffled).any(axis=1).mean() > 0.8
    for kind in SPLITS[1:]:
        np.testing.assert_array_equal(tables["true"][kind].labels_NK, tables["shuffled"][kind].labels_NK)


def test_a_size_above_the_corpus_is_refused_with_its_size(corpus: Manifest):
    have = len(corpus.select("train"))
    with pytest.raises(ValueError, match=f"has {have} train songs"):
        select_data(RunConfig(data=DataConfig(size=have + 1)), corpus)
