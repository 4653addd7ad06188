"""A launch reads all songs' checksums from one file, whatever wrote the corpus; corpora without it still train."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.small_corpus import make_song, shard_here

from genrescale.config.corpus import ShardSettings
from genrescale.data.checksums import gather_checksums, song_checksums
from genrescale.data.index import num_seconds
from genrescale.data.manifest import MANIFEST_PATH, Manifest, read_manifest
from genrescale.data.reading.crops import DamagedShardError, SongTable, read_crops
from genrescale.data.upkeep.mix import mix_corpora
from genrescale.data.upkeep.take_down import take_down
from genrescale.data.upkeep.verify import verify_manifest
from genrescale.storage.store import Store

SETTINGS = ShardSettings(val_fraction=0.2, test_fraction=0.2, songs_per_shard=4, min_s=0.5)


def corpus_of(folder: Path, numbers: range) -> Manifest:
    folder.mkdir(exist_ok=True)
    songs = [make_song(folder, i) for i in numbers]
    return shard_here(songs, Store(str(folder / "out")), settings=SETTINGS).manifest


def added(folder: Path) -> Manifest:
    corpus_of(folder, range(12))
    songs = [make_song(folder, i) for i in range(20)]
    return shard_here(songs, Store(str(folder / "out")), append=True, settings=SETTINGS).manifest


def taken_down(folder: Path) -> Manifest:
    manifest = corpus_of(folder, range(20))
    return take_down(Store(manifest.uri), manifest.songs["key"].to_pylist()[1:9:3], "withdrawn").manifest


def mixed(folder: Path) -> Manifest:
    folder.mkdir()
    corpora = [corpus_of(folder / name, numbers) for name, numbers in (("a", range(20)), ("b", range(30, 50)))]
    return mix_corpora(corpora, Store(str(folder / "mix")))[0]


@pytest.mark.parametrize("write", [lambda folder: corpus_of(folder, range(20)), added, taken_down, mixed])
def test_the_file_has_what_the_indexes_have_whatever_wrote_it(write: Callable[[Path], Manifest], tmp_path: Path):
    manifest = read_manifest(write(tmp_path / "corpus").uri)
    assert manifest.checksums_file
    before = replace(manifest, checksums_file=None)
    rng = np.random.default_rng(0)
    for count in (1, 5, len(manifest)):
        rows = rng.permutation(len(manifest))[:count]
        assert gather_checksums(manifest, rows).tolist() == gather_checksums(before, rows).tolist()
        needed = int(num_seconds(manifest.column("num_samples")[rows]).sum())
        assert len(song_checksums(manifest, rows)[0]) == needed


def test_training_reads_one_object_for_any_number_of_shards(copy: Manifest, monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    whole = Store.read_bytes
    monkeypatch.setattr(Store, "read_bytes", lambda store, path: read.append(path) or whole(store, path))
    rows = copy.select("train")
    table = SongTable.of(copy, rows)
    assert len(set(copy.column("shard")[rows].tolist())) > 2
    assert copy.checksums_file
    assert read == [copy.checksums_file[0]]
    songs, starts = np.arange(len(table)), np.zeros(len(table), np.int64)
    before = SongTable.of(replace(copy, checksums_file=None), rows)
    np.testing.assert_array_equal(read_crops(table, songs, starts, 16_000), read_crops(before, songs, starts, 16_000))
    flipped = replace(table, crc32=table.crc32 ^ np.uint32(1))
    with pytest.raises(DamagedShardError, match="does not match its checksum"):
        read_crops(flipped, songs, starts, 16_000)


def test_a_corpus_of_before_is_read_by_its_indexes(copy: Manifest):
    path = Path(copy.uri, MANIFEST_PATH)
    summary = json.loads(path.read_text())
    (name,) = summary.pop("checksums")
    Path(copy.uri, name).unlink()
    path.write_text(json.dumps(summary))
    manifest = read_manifest(copy.uri)
    assert manifest.checksums_file is None
    assert manifest.version == copy.version
    assert verify_manifest(manifest) == []
    table = SongTable.of(manifest, manifest.select("train"))
    read_crops(table, np.arange(len(table)), np.zeros(len(table), np.int64), 16_000)
    gone = manifest.songs["key"][0].as_py()
    assert take_down(Store(copy.uri), [gone], "withdrawn").manifest.checksums_file is None


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_damaged_file_is_named(copy: Manifest, damage: str):
    assert copy.checksums_file
    path = Path(copy.uri, copy.checksums_file[0])
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink() if damage == "missing" else path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"checksums\.npy is {damage}"):
        SongTable.of(copy, copy.select("train"))
    assert [problem.where for problem in verify_manifest(copy)] == [copy.checksums_file[0]]
