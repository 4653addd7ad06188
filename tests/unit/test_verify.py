"""What can go wrong with shards is found and named, lost indexes come back, and one shard or song can be looked at."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.small_corpus import VOCABULARY, flip

from genrescale.audio import SAMPLE_RATE, Tag, Vocabulary
from genrescale.data.index import index_path
from genrescale.data.manifest import Manifest, read_manifest, with_indexes
from genrescale.data.sharding.duplicates import find_duplicates
from genrescale.data.sharding.rebuild import PlannedShard, rebuild_index
from genrescale.data.sharding.scan import read_members, scan_shard
from genrescale.data.upkeep.inspect import inspect, shows_problem
from genrescale.data.upkeep.verify import (
    Remedy,
    ShardCheck,
    check_shard,
    drift,
    remedies,
    sample_shards,
    shard_checks,
    verify_manifest,
    verify_shard,
)
from genrescale.data.upkeep.verify_corpus import verify_corpus
from genrescale.storage.store import Store


def shard_path(manifest: Manifest, shard: int = 0) -> Path:
    return Path(manifest.uri) / manifest.shard_name(shard)


def problems(manifest: Manifest, shard: int = 0) -> list[str]:
    return [str(problem) for problem in verify_shard(Store(manifest.uri), manifest, shard)]


def replace_bytes(path: Path, old: bytes, new: bytes) -> None:
    assert len(old) == len(new)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def as_written(manifest: Manifest, shard: int) -> Manifest:
    """The manifest with the SHA-256 that a changed shard has now: as where the two are of different corpora."""
    sha256 = manifest.shards["sha256"].to_pylist()
    sha256[shard] = hashlib.sha256(shard_path(manifest, shard).read_bytes()).hexdigest()
    place = manifest.shards.column_names.index("sha256")
    return replace(manifest, shards=manifest.shards.set_column(place, "sha256", pa.array(sha256)))


def keys(manifest: Manifest, shard: int = 0) -> list[str]:
    return [manifest.songs["key"][row].as_py() for row in manifest.shard_rows(shard).tolist()]


def test_members_are_those_of_the_manifest(manifest: Manifest):
    for shard in range(manifest.shards.num_rows):
        scan = scan_shard(Store(manifest.uri), manifest.shard_name(shard))
        rows = manifest.shard_rows(shard)
        assert scan.sha256 == manifest.shards["sha256"][shard].as_py()
        assert [song.key for song in scan.songs] == keys(manifest, shard)
        assert [song.offset for song in scan.songs] == manifest.column("offset")[rows].tolist()
        assert [song.num_bytes // 2 for song in scan.songs] == manifest.column("num_samples")[rows].tolist()


@pytest.mark.parametrize("cut", [0, 1, 511, 700, 40_000])
def test_members_before_a_cut_are_read(manifest: Manifest, cut: int):
    found, _ = read_members(BytesIO(shard_path(manifest).read_bytes()[:cut]))
    assert [song.key for song in found] == keys(manifest)[: len(found)]
    assert len(found) < len(keys(manifest))


def test_a_song_whose_labels_differ_is_named_with_both(copy: Manifest):
    scan = scan_shard(Store(copy.uri), copy.shard_name(0))
    song = next(song for song in scan.songs if song.facts and song.facts["labels"]["rock"])
    text = json.dumps(song.facts, sort_keys=True, separators=(",", ":")).encode()
    replace_bytes(shard_path(copy), text, text.replace(b'"jazz":0,"rock":1', b'"jazz":1,"rock":0'))
    (found,) = problems(copy)
    assert f"song {song.key}: labels are {{'energy': " in found
    assert "'jazz': 1} in its .json member, {'rock': 1, 'energy': " in found
    (found,) = verify_shard(Store(copy.uri), as_written(copy, 0), 0)
    assert song.key in found.what
    assert found.remedy is Remedy.DRIFT


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'"rock"', b'"punk"', "labels are"),
        (b'"artist":"artist', b'"artist":"artisT', "artist is 'artisT"),
        (b'"split":"', b'"splot":"', "split is None"),
        (b'{"artist"', b'["artist"', "its .json member cannot be read"),
    ],
)
def test_a_json_member_that_says_something_else_is_found(copy: Manifest, old: bytes, new: bytes, words: str):
    replace_bytes(shard_path(copy), old, new)
    assert any(words in problem for problem in problems(copy))
    assert any(words in problem.what for problem in verify_shard(Store(copy.uri), as_written(copy, 0), 0))


def test_other_tags_in_the_manifest_are_drift(manifest: Manifest):
    """The same shards under another vocabulary: every song is named, for each says which tags it was judged by."""
    other = replace(manifest, vocabulary=Vocabulary((Tag("pop"), *VOCABULARY.tags[1:])))
    found = verify_shard(Store(other.uri), other, 0)
    assert [problem.what.split(":")[0] for problem in found] == [f"song {key}" for key in sorted(keys(manifest))]
    assert remedies(found) == [Remedy.DRIFT.value]


def rewrite(path: Path, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> None:
    """The tar with its members (name, bytes) changed."""
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))


def test_swapped_songs_are_found(copy: Manifest):
    first, second = keys(copy)[:2]
    rewrite(shard_path(copy), lambda members: [*members[2:4], *members[:2], *members[4:]])
    found = problems(copy)
    assert any(f"song {first} is altered" in problem for problem in found)
    assert any(f"song {second} is altered" in problem for problem in found)
    assert any(
        f"song {first} lies at byte" in what for what in drift(copy, 0, read_members(shard_path(copy).open("rb"))[0])
    )


def test_a_duplicated_and_a_dropped_song_are_found(copy: Manifest):
    first, *_, last = keys(copy)
    rewrite(shard_path(copy), lambda m: [*m[:-2], (f"{first}x.json", m[0][1]), (f"{first}x.pcm", m[1][1])])
    found = [str(problem) for problem in verify_shard(Store(copy.uri), as_written(copy, 0), 0)]
    assert any(f"song {first}x is in the shard, not in the manifest" in problem for problem in found)
    assert any(f"song {last} is in the manifest, not in the shard" in problem for problem in found)
    assert any("too long" in problem or "truncated" in problem for problem in found)


def test_a_sample_is_seeded_and_within_the_shards():
    assert sample_shards(5, 0, 0) == sample_shards(5, 9, 0) == list(range(5))
    assert sample_shards(100, 10, 3) == sample_shards(100, 10, 3)
    assert sample_shards(100, 10, 3) != sample_shards(100, 10, 4)
    assert len(set(sample_shards(100, 10, 3))) == 10
    with pytest.raises(ValueError, match="sample=-1 must be a number of shards"):
        sample_shards(5, -1, 0)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: flip(path, 20)])
@pytest.mark.parametrize("shard", [0, 1, 2, 3, 4])
def test_a_lost_index_comes_back_byte_for_byte(copy: Manifest, shard: int, damage: Callable[[Path], None]):
    path = Path(copy.uri) / index_path(copy.shard_name(shard))
    before = path.read_bytes()
    damage(path)
    assert len(check_shard(ShardCheck(shard, copy.only_shard(shard), True)).problems) == 1
    done = check_shard(next(shard_checks(copy, [shard], deep=True, rebuild=True)))
    assert done.problems == []
    assert path.read_bytes() == before
    assert hashlib.sha256(before).hexdigest() == done.index_sha256
    assert with_indexes(copy, {shard: done.index_sha256}) is copy


def test_without_the_plan_the_manifest_takes_the_new_index(copy: Manifest):
    path = Path(copy.uri) / index_path(copy.shard_name(1))
    path.unlink()
    (Path(copy.uri) / "plan.parquet").unlink()
    sha256 = rebuild_index(Store(copy.uri), copy, 1, PlannedShard())
    assert sha256 != copy.shards["index_sha256"][1].as_py()
    mended = with_indexes(copy, {1: sha256})
    again = read_manifest(copy.uri)
    assert again.version == copy.version == mended.version
    assert again.shards.equals(mended.shards)
    assert verify_manifest(again) == []
    assert [problem for shard in range(5) for problem in problems(again, shard)] == []
    assert np.array_equal(again.checksums(1), make_checksums(again, 1))


def make_checksums(manifest: Manifest, shard: int) -> np.ndarray:
    """Checksums of every second, from zlib alone."""
    data, found = shard_path(manifest, shard).read_bytes(), []
    for row in manifest.shard_rows(shard).tolist():
        offset, length = manifest.songs["offset"][row].as_py(), manifest.songs["num_samples"][row].as_py() * 2
        pcm = data[offset : offset + length]
        found += [zlib.crc32(pcm[i : i + 2 * SAMPLE_RATE]) for i in range(0, length, 2 * SAMPLE_RATE)]
    return np.array(found, np.uint32)


def test_no_index_is_made_from_a_damaged_shard(copy: Manifest):
    path = Path(copy.uri) / index_path(copy.shard_name(0))
    path.unlink()
    flip(shard_path(copy), 5000)
    done = check_shard(ShardCheck(0, copy.only_shard(0), True, PlannedShard()))
    assert done.index_sha256 == ""
    problem = f"{copy.shard_name(0)}: its SHA-256 is not the manifest's, so its index cannot be rebuilt"
    assert problem in map(str, done.problems)
    assert not path.exists()


def with_audio_of(manifest: Manifest, pairs: list[tuple[int, int]], seconds: bool = True) -> Manifest:
    """The manifest as if row b held the audio of row a; ``seconds``: the checksums of every second are those, too."""
    songs = manifest.songs
    for name in ("num_samples", "crc32", *(("shard", "crc_start") if seconds else ())):
        values = songs[name].to_pylist()
        for a, b in pairs:
            values[b] = values[a]
        songs = songs.set_column(songs.column_names.index(name), name, pa.array(values, songs[name].type))
    return replace(manifest, songs=songs)


def test_songs_with_the_same_audio_are_named_by_split(manifest: Manifest):
    assert find_duplicates(manifest) == []
    train, validation = manifest.select("train"), manifest.select("validation")
    pairs = [(int(train[0]), int(train[1])), (int(train[2]), int(validation[0]))]
    within, across = sorted(find_duplicates(with_audio_of(manifest, pairs)), key=lambda found: found.across_splits)
    assert (within.across_splits, across.across_splits) == (False, True)
    names = manifest.songs["key"].to_pylist()
    assert set(within.keys) == {names[train[0]], names[train[1]]}
    assert f"{names[train[2]]} (train)" in str(across)
    assert f"{names[validation[0]]} (validation)" in str(across)


def test_a_crc_that_two_songs_share_by_chance_is_no_duplicate(manifest: Manifest):
    assert find_duplicates(with_audio_of(manifest, [(0, 1)], seconds=False)) == []


def test_without_their_indexes_crc_and_length_decide(copy: Manifest):
    for shard in range(copy.shards.num_rows):
        (Path(copy.uri) / index_path(copy.shard_name(shard))).unlink()
    (found,) = find_duplicates(with_audio_of(copy, [(0, 1)], seconds=False))
    assert len(found.keys) == 2


@pytest.mark.parametrize("name", ["train-000000", "train-000000.tar", "shards/train-000000.tar"])
def test_inspect_shows_a_shard(manifest: Manifest, name: str):
    lines = list(inspect(manifest, name))
    assert lines[0].startswith("shards/train-000000.tar: train, ")
    assert any(line.startswith("ok: every byte") for line in lines)
    for key in keys(manifest):
        assert any(key in line and "energy" in line for line in lines)


def test_inspect_shows_a_song_and_whether_it_is_what_was_written(copy: Manifest):
    for key in keys(copy, 1):
        lines = list(inspect(copy, key))
        assert not any("not ok" in line for line in lines)
        assert not shows_problem([*lines, "artist: not ok", "labels: seconds: not ok: 1"])
        assert "json member: ok" in lines
    row = int(copy.shard_rows(1)[1])
    song = {name: copy.songs[name][row].as_py() for name in copy.songs.column_names}
    text = "\n".join(inspect(copy, song["key"]))
    assert f"bytes {song['offset']} to {song['offset'] + 2 * song['num_samples']}, " in text
    assert f"source: {song['path']}" in text
    flip(shard_path(copy, 1), song["offset"] + SAMPLE_RATE * 2 + 4)
    lines = list(inspect(copy, song["key"]))
    assert any(line.startswith("seconds: not ok: 1 of ") for line in lines)
    assert any(line.startswith("crc32: ") and "not ok" in line for line in lines)
    for line in lines:
        assert shows_problem([line]) == ("not ok" in line)
    assert any("is altered at second 1" in line for line in inspect(copy, "train-000001"))
    assert shows_problem(inspect(copy, "train-000001"))
    shard_path(copy, 1).unlink()
    assert any("is missing" in line for line in inspect(copy, song["key"]))
    assert shows_problem(inspect(copy, song["key"]))


def test_inspect_names_what_was_quarantined(manifest: Manifest):
    lines = [line for shard in range(5) for line in inspect(manifest, manifest.shard_name(shard))]
    assert [line for line in lines if line.startswith("quarantined: s07: ")]


def test_inspect_of_something_unknown_names_similar_ones(manifest: Manifest):
    with pytest.raises(ValueError, match=r"inspect=train-00000 is neither a shard nor a song of .*train-00000\d"):
        inspect(manifest, "train-00000")


def test_a_whole_corpus_is_checked_and_its_lost_index_comes_back(copy: Manifest, monkeypatch: pytest.MonkeyPatch):
    """Without Ray: its tasks are run one after the other, in this process."""
    target = "genrescale.data.upkeep.verify_corpus.run_tasks"
    monkeypatch.setattr(target, lambda function, items, name: map(function, items))
    every, path = range(copy.shards.num_rows), index_path(copy.shard_name(1))
    intact = verify_corpus(copy, every, deep=True, rebuild=False)
    assert (intact.problems, intact.rebuilt) == ([], [])
    (line,) = intact.lines()
    assert line == f"{copy.uri}, version {copy.version}: {len(every)} shards, every byte read, 0 problems"
    (Path(copy.uri) / path).unlink()
    lost = verify_corpus(copy, [1], deep=False, rebuild=False)
    first, summary, remedy = lost.lines()
    assert first == f"{path}: missing"
    assert summary.endswith(f": 1 of {len(every)} shards, sizes and indexes read, 1 problems")
    assert remedy == f"To mend it: {Remedy.INDEX.value}"
    rebuilt = verify_corpus(copy, every, deep=True, rebuild=True)
    assert rebuilt.problems == []
    assert next(rebuilt.lines()) == f"{copy.shard_name(1)}: its index was rebuilt"
    assert verify_corpus(read_manifest(copy.uri), every, deep=True, rebuild=False).problems == []
