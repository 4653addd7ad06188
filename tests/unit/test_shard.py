"""One shard: its bytes, its index and its quarantine, without Ray."""

import json
import tarfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from webdataset.compat import WebDataset

from genrescale.audio import SAMPLE_RATE, Song, Tag, Vocabulary
from genrescale.data import decode
from genrescale.data.decode import decode_pcm
from genrescale.data.decoders import DecodeError
from genrescale.data.index import ShardIndex, index_from_bytes, index_path, index_to_bytes, second_checksums
from genrescale.data.shard import ShardTask, decode_song, fetch_bytes, write_shard
from genrescale.data.shard_job import MIN_FAILURES, failure_limit, shard_tasks, write_corpus
from genrescale.data.shard_plan import FailureBudgetError, ShardSettings, make_plan
from genrescale.data.store import Store

VOCABULARY = Vocabulary((Tag("jazz"), Tag("rock")), exclusive=True)
NAME = "shards/train-000000.tar"


def write_song(path: Path, seconds: float, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(
        path, 0.3 * np.random.default_rng(seed).standard_normal(round(seconds * 22_050)).clip(-3, 3), 22_050
    )


def make_songs(folder: Path) -> list[Song]:
    """Three songs with keys of 3, 11 and 130 characters, and a broken one between them."""
    songs = []
    for i, (key, kind) in enumerate([("a-1", "flac"), ("b", "txt"), ("song_number", "ogg"), ("long-" * 26, "mp3")]):
        path = folder / f"{i}.{kind}"
        if kind == "txt":
            path.write_text("not music")
        else:
            write_song(path, 1.5 + i, seed=i)
        songs.append(Song(key, str(path), "someone", {"rock": 1.0}))
    return songs


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> ShardTask:
    folder = tmp_path_factory.mktemp("corpus")
    songs, labels_nK = make_songs(folder), np.array([[0, 1]] * 4, np.float32)
    out = Store(str(folder / "out"))
    task = ShardTask(out, NAME, "train", 512, songs, labels_nK, VOCABULARY, "plan", ShardSettings())
    write_shard(task)
    return task


def read_index(task: ShardTask) -> ShardIndex:
    return index_from_bytes(task.store.read_bytes(index_path(task.name)))


def test_the_webdataset_library_reads_the_shard(task: ShardTask):
    samples = list(WebDataset(str(task.store.local_path(NAME)), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["a-1", "song_number", "long-" * 26]
    for sample, song in zip(samples, [task.songs[i] for i in (0, 2, 3)], strict=True):
        assert sample["pcm"] == decode_pcm(Path(song.path), "").pcm_T.tobytes()
        facts = json.loads(sample["json"])
        assert facts["labels"] == {"jazz": 0, "rock": 1}
        assert (facts["artist"], facts["split"], facts["sample_rate"]) == ("someone", "train", SAMPLE_RATE)
        assert facts["num_samples"] == len(sample["pcm"]) // 2


def test_tarfile_reads_the_shard(task: ShardTask):
    with tarfile.open(task.store.local_path(NAME)) as tar:
        members = tar.getmembers()
    assert [member.name.rsplit(".", 1)[1] for member in members] == ["json", "pcm"] * 3
    assert {(member.mtime, member.uname, member.uid) for member in members} == {(0, "genrescale", 0)}


def test_the_index_points_at_the_exact_pcm(task: ShardTask):
    index = read_index(task)
    with tarfile.open(task.store.local_path(NAME)) as tar:
        offsets = [member.offset_data for member in tar.getmembers() if member.name.endswith(".pcm")]
    assert index.offset.tolist() == offsets
    assert index.keys == ["a-1", "song_number", "long-" * 26]
    assert index.order.tolist() == [512, 514, 515]  # the broken song keeps its place
    for i, song in enumerate([task.songs[i] for i in (0, 2, 3)]):
        pcm_T = decode_pcm(Path(song.path), "").pcm_T
        assert task.store.read_range(NAME, int(index.offset[i]), len(pcm_T) * 2) == pcm_T.tobytes()
        assert index.num_samples[i] == len(pcm_T)
        assert index.crc32[i] == zlib.crc32(pcm_T.tobytes())
        seconds = [zlib.crc32(pcm_T[t : t + SAMPLE_RATE].tobytes()) for t in range(0, len(pcm_T), SAMPLE_RATE)]
        start = index.crc_start[i]
        assert index.checksums[start : start + len(seconds)].tolist() == seconds
    assert len(index.checksums) == 2 + 4 + 5


def test_a_broken_file_is_quarantined_with_its_reason(task: ShardTask):
    assert list(read_index(task).quarantined) == ["b"]
    assert "Invalid data" in read_index(task).quarantined["b"]


def test_the_same_songs_give_the_same_bytes(task: ShardTask, tmp_path: Path):
    again = replace(task, store=Store(str(tmp_path)))
    write_shard(again)
    for path in (NAME, index_path(NAME)):
        assert again.store.read_bytes(path) == task.store.read_bytes(path)
    assert again.store.list() == sorted([NAME, index_path(NAME)])


def test_a_damaged_index_is_refused(task: ShardTask):
    data = task.store.read_bytes(index_path(NAME))
    assert index_to_bytes(index_from_bytes(data)) == data
    for damaged in (b"", data[: len(data) // 2], data[:200] + bytes([data[200] ^ 1]) + data[201:]):
        with pytest.raises(ValueError, match="not a shard index"):
            index_from_bytes(damaged)


def test_a_shard_of_broken_songs_is_an_empty_shard(task: ShardTask, tmp_path: Path):
    empty = replace(task, store=Store(str(tmp_path)), songs=[task.songs[1]])
    assert write_shard(empty).num_songs == 0
    assert len(read_index(empty).checksums) == 0
    with tarfile.open(tmp_path / NAME) as tar:
        assert tar.getmembers() == []


def test_an_exception_leaves_no_file(tmp_path: Path):
    def fail_half_way() -> None:
        with Store(str(tmp_path)).whole_file("a/b.tar") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert Store(str(tmp_path)).list() == []


def test_checksums_see_one_flipped_bit():
    pcm_T = np.zeros(3 * SAMPLE_RATE + 1, np.int16)
    before = second_checksums(pcm_T.tobytes())
    pcm_T[2 * SAMPLE_RATE] ^= 1
    assert len(before) == 4
    assert np.flatnonzero(before != second_checksums(pcm_T.tobytes())).tolist() == [2]


def test_songs_in_a_bucket_are_refused_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    Store("memory://bucket").write_bytes("song.mp3", bytes(1000))
    assert fetch_bytes("memory://bucket/song.mp3") == bytes(1000)
    monkeypatch.setattr(decode, "MAX_ENCODED_BYTES", 999)
    monkeypatch.setattr(Store, "read_bytes", lambda *_: pytest.fail("it was read"))
    with pytest.raises(DecodeError, match=r"bucket/song.mp3: the file has 1,000 bytes, more than 999"):
        fetch_bytes("memory://bucket/song.mp3")


@pytest.mark.parametrize("path", ["memory://bucket/none.mp3", "nobody://knows/this.mp3", "://"])
def test_addresses_without_a_song_are_refused_by_name(path: str):
    with pytest.raises(DecodeError) as caught:
        fetch_bytes(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_max_s_keeps_the_middle(task: ShardTask):
    song = task.songs[3]
    whole_T = decode_pcm(Path(song.path), "").pcm_T
    start = (len(whole_T) - SAMPLE_RATE) // 2
    clip = decode_song(song, ShardSettings(max_s=1.0))
    assert (clip.key, clip.pcm_T.tolist()) == (song.key, whole_T[start : start + SAMPLE_RATE].tolist())


def test_the_failure_budget():
    assert failure_limit(ShardSettings(max_failure_rate=0.01), 100) == MIN_FAILURES
    assert failure_limit(ShardSettings(max_failure_rate=0.01), 10_000) == 100
    assert failure_limit(ShardSettings(max_failure_rate=0.0), 10_000) == 0


def test_a_budget_that_is_spent_stops_the_job_and_keeps_the_quarantine(task: ShardTask, tmp_path: Path):
    out = Store(str(tmp_path))
    settings = ShardSettings(val_fraction=0.0, test_fraction=0.0, songs_per_shard=4, max_failure_rate=0.0)
    plan = make_plan(task.songs, VOCABULARY, settings)
    write_shard(shard_tasks(plan, out, {})[0])
    with pytest.raises(
        FailureBudgetError, match=r"1 of 4 songs failed, more than the 0 .*1\.txt: ffmpeg: .*Invalid data"
    ):
        write_corpus(plan, out)
    assert "quarantine.parquet" in out.list()
    assert "manifest.json" not in out.list()
