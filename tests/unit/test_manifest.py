"""The manifest selects nested sizes, names its content, and finds every kind of damage to the shards."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from helpers.small_corpus import NUM_SONGS, flip

from genrescale.audio import SAMPLE_RATE, Tag, Vocabulary
from genrescale.data.index import index_path
from genrescale.data.manifest import Manifest, content_version, read_manifest
from genrescale.data.upkeep.verify import verify_manifest, verify_shard
from genrescale.storage.store import Store


def problems(manifest: Manifest, deep: bool = True) -> list[str]:
    shards = range(manifest.shards.num_rows)
    return [str(problem) for i in shards for problem in verify_shard(Store(manifest.uri), manifest, i, deep)]


def test_rows_labels_and_audio_belong_together(manifest: Manifest):
    assert len(manifest) == NUM_SONGS - 1
    assert manifest.labels_NK.dtype == np.float32
    store = Store(manifest.uri)
    for row in range(len(manifest)):
        song = {name: manifest.songs[name][row].as_py() for name in manifest.songs.column_names}
        number = int(song["key"][1:])
        assert manifest.labels_NK[row].tolist() == [number % 2 == 0, number % 2 == 1, np.float32(number / NUM_SONGS)]
        assert (song["artist"], Path(song["path"]).name) == (f"artist{number}", f"{number}.wav")
        wave_T, _ = soundfile.read(song["path"], dtype="int16")
        name = manifest.shard_name(song["shard"])
        assert name.startswith(f"shards/{song['split']}-")
        assert store.read_range(name, song["offset"], song["num_samples"] * 2) == wave_T.tobytes()


def test_the_checksums_of_a_song_start_at_its_crc_start(manifest: Manifest):
    for shard in range(manifest.shards.num_rows):
        checksums, rows = manifest.checksums(shard), manifest.shard_rows(shard)
        seconds = np.ceil(manifest.column("num_samples")[rows] / SAMPLE_RATE).astype(int)
        assert checksums.dtype == np.uint32
        assert manifest.column("crc_start")[rows].tolist() == (np.cumsum(seconds) - seconds).tolist()
        assert len(checksums) == seconds.sum()


def test_sizes_are_nested_and_count_survivors(manifest: Manifest):
    train = manifest.select("train")
    assert (np.diff(manifest.column("order")[train]) > 0).all()
    assert len(train) + len(manifest.select("validation")) == NUM_SONGS - 1
    for size in range(1, len(train)):
        assert manifest.select("train", size).tolist() == train[:size].tolist()
    assert len(manifest.select("test")) == 0


def test_a_smaller_size_lies_in_the_first_shards(manifest: Manifest):
    shards = manifest.column("shard")[manifest.select("train", 5)]
    assert set(shards.tolist()) <= {0, 1}


def test_a_size_above_the_corpus_is_refused_with_its_size(manifest: Manifest):
    available = len(manifest.select("train"))
    with pytest.raises(ValueError, match=f"{available + 1} train songs were asked for; .* has {available} train songs"):
        manifest.select("train", available + 1)
    with pytest.raises(ValueError, match=rf"set run.data.size \(of a sweep: sizes\) to {available} or less"):
        manifest.select("train", available + 1)
    with pytest.raises(ValueError, match="split 'dev' is none of"):
        manifest.select("dev")


def test_the_digest_follows_songs_audio_labels_and_tags(manifest: Manifest):
    rows = manifest.select("train", 5)
    digest = manifest.digest(rows)
    assert digest == read_manifest(manifest.uri).digest(rows)
    assert digest != manifest.digest(manifest.select("train", 6))
    assert digest != manifest.digest(rows[::-1])
    labels_NK = manifest.labels_NK.copy()
    labels_NK[rows[2], 2] += 0.01
    assert digest != replace(manifest, labels_NK=labels_NK).digest(rows)
    assert digest != replace(manifest, vocabulary=Vocabulary((Tag("rock"), Tag("pop"), Tag("energy")))).digest(rows)
    for name in ("crc32", "key"):
        values = manifest.songs[name].to_pylist()
        values[rows[0]] = 1 if name == "crc32" else "other"
        place = manifest.songs.column_names.index(name)
        changed = manifest.songs.set_column(place, name, pa.array(values, manifest.songs[name].type))
        assert digest != replace(manifest, songs=changed).digest(rows)


def test_the_version_names_the_content_not_the_place(manifest: Manifest, copy: Manifest):
    assert copy.uri != manifest.uri
    assert copy.version == manifest.version
    assert content_version(copy.songs, copy.labels_NK + 1, copy.vocabulary) != copy.version


def test_no_corpus_names_the_job(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"holds no manifest.json.*jobs/shard_corpus.py"):
        read_manifest(str(tmp_path))


def test_damaged_tables_are_refused(copy: Manifest):
    tables = json.loads((Path(copy.uri) / "manifest.json").read_text())["tables"]
    songs = Path(copy.uri) / next(iter(tables))
    data = bytearray(songs.read_bytes())
    data[100] ^= 1
    songs.write_bytes(data)
    with pytest.raises(ValueError, match=r"songs.parquet is damaged"):
        read_manifest(copy.uri)
    songs.unlink()
    with pytest.raises(ValueError, match=r"songs.parquet is missing"):
        read_manifest(copy.uri)


def test_one_shard_alone_is_checked_as_part_of_the_whole(manifest: Manifest):
    for shard in range(manifest.shards.num_rows):
        alone = manifest.only_shard(shard)
        assert alone.shard_name(0) == manifest.shard_name(shard)
        assert verify_shard(Store(manifest.uri), alone, 0) == []


def test_an_intact_corpus_has_no_problems(manifest: Manifest):
    assert verify_manifest(manifest) == []
    assert problems(manifest) == []
    assert problems(manifest, deep=False) == []


def test_a_flipped_byte_is_found_by_song_and_second(copy: Manifest):
    row = int(copy.column("num_samples").argmax())
    shard = int(copy.column("shard")[row])
    path = Path(copy.uri) / copy.shard_name(shard)
    flip(path, int(copy.column("offset")[row]) + 2 * SAMPLE_RATE + 5)
    key = copy.songs["key"][row].as_py()
    assert problems(copy) == [f"{copy.shard_name(shard)}: song {key} is altered at second 1"]
    assert problems(copy, deep=False) == []


def test_damage_outside_of_the_audio_is_found(copy: Manifest):
    flip(Path(copy.uri) / copy.shard_name(0), 0)
    assert problems(copy) == [
        f"{copy.shard_name(0)}: SHA-256 differs, outside of the audio (a tar header or a .json member)"
    ]


@pytest.mark.parametrize("deep", [True, False])
def test_a_truncated_shard_is_found(copy: Manifest, deep: bool):
    path = Path(copy.uri) / copy.shard_name(1)
    path.write_bytes(path.read_bytes()[:40_000])
    found = problems(copy, deep)
    assert "truncated, 40000 bytes instead of" in found[0]
    assert any("is cut off" in problem for problem in found) == deep


def test_missing_and_extra_files_are_found(copy: Manifest):
    name = copy.shard_name(0)
    (Path(copy.uri) / name).unlink()
    (Path(copy.uri) / "shards/train-999999.tar").write_bytes(b"")
    assert [str(problem) for problem in verify_manifest(copy)] == [
        f"{name}: missing",
        "shards/train-999999.tar: extra, not in the manifest",
    ]
    assert problems(copy) == [f"{name}: missing"]


def test_a_damaged_or_missing_index_is_found(copy: Manifest):
    path = Path(copy.uri) / index_path(copy.shard_name(0))
    flip(path, 20)
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        copy.checksums(0)
    assert problems(copy) == [f"{index_path(copy.shard_name(0))}: {path} is damaged: its SHA-256 is not the manifest's"]
    path.unlink()
    assert problems(copy, deep=False) == [f"{index_path(copy.shard_name(0))}: missing"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda m: replace(m, labels_NK=m.labels_NK[::-1]), "its content is"),
        (lambda m: replace(m, songs=pa.concat_tables([m.songs, m.songs.slice(0, 1)])), "a key more than once"),
        (lambda m: replace(m, songs=m.songs.slice(1), labels_NK=m.labels_NK[1:]), "songs in the manifest, not"),
    ],
)
def test_an_inconsistent_manifest_is_found(manifest: Manifest, damage: Callable[[Manifest], Manifest], words: str):
    assert any(words in str(problem) for problem in verify_manifest(damage(manifest)))
