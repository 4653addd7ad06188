"""One shard: its bytes, its index and its quarantine, without Ray."""

import json
import tarfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fsspec.exceptions import FSTimeoutError
from webdataset.compat import WebDataset

from genrescale.audio import SAMPLE_RATE, Clip, Song, Tag, Vocabulary
from genrescale.config.corpus import ShardSettings
from genrescale.data.decoding import decode, fetch
from genrescale.data.decoding.decode import decode_pcm
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.decoding.fetch import fetch_bytes
from genrescale.data.index import ShardIndex, index_from_bytes, index_path, index_to_bytes, second_checksums
from genrescale.data.sharding import writer as shard
from genrescale.data.sharding.budget import MIN_FAILURES, failure_limit
from genrescale.data.sharding.errors import FailureBudgetError
from genrescale.data.sharding.job import shard_tasks, write_corpus
from genrescale.data.sharding.plan import make_plan
from genrescale.data.sharding.writer import ShardTask, decode_song, write_shard
from genrescale.storage.errors import StoreError
from genrescale.storage.retry import Patience
from genrescale.storage.store import Store

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
    monkeypatch.setattr(fetch, "BUCKETS", ("memory://",))
    Store("memory://bucket").write_bytes("song.mp3", bytes(1000))
    assert fetch_bytes("memory://bucket/song.mp3") == bytes(1000)
    monkeypatch.setattr(decode, "MAX_ENCODED_BYTES", 999)
    monkeypatch.setattr(Store, "read_ranges", lambda *_: pytest.fail("it was read"))
    with pytest.raises(DecodeError, match=r"bucket/song.mp3: the file has 1,000 bytes, more than 999"):
        fetch_bytes("memory://bucket/song.mp3")


def test_addresses_without_a_song_are_refused_by_name(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetch, "BUCKETS", ("memory://",))
    with pytest.raises(DecodeError, match=r"^memory://bucket/none.mp3: the file does not exist"):
        fetch_bytes("memory://bucket/none.mp3")


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


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    """A server's address, and the paths that it was asked for; /503.mp3 is answered with 503, /endless with no size."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            asked.append(self.path)
            code = self.path[1:4]
            self.send_response(int(code) if code.isdigit() else 200)
            if code.isdigit():
                self.send_header("Content-Length", "0")
            self.end_headers()
            if not code.isdigit() and self.command == "GET":
                with suppress(OSError):
                    for _ in range(64):
                        self.wfile.write(bytes(1 << 20))

        def log_message(self, format: str, *args: object):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_a_server_that_fails_is_asked_again_and_then_no_missing_song(
    web: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
):
    address, asked = web
    monkeypatch.setattr(fetch, "HTTP_PATIENCE", Patience(0.5, 0.01, 0.01))
    for code in (401, 403, 404, 410):
        with pytest.raises(DecodeError, match=f"{code}.mp3: the file does not exist"):
            fetch_bytes(f"{address}/{code}.mp3", internal=True)
    for code in (429, 500, 503):
        asked.clear()
        with pytest.raises(StoreError, match=rf"{code}.mp3 cannot be read \({code}, "):
            fetch_bytes(f"{address}/{code}.mp3", internal=True)
        assert len(asked) >= 3
    with pytest.raises(StoreError, match=r"127.0.0.1:1/x.mp3 cannot be read \(Cannot connect"):
        fetch_bytes("http://127.0.0.1:1/x.mp3", internal=True)


def test_a_song_of_a_server_that_tells_no_size_is_read_up_to_the_limit(
    web: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
):
    for module in (decode, fetch):
        monkeypatch.setattr(module, "MAX_ENCODED_BYTES", 3_000_000)
    with pytest.raises(DecodeError, match="endless: the file has 3,000,001 bytes, more than 3,000,000"):
        fetch_bytes(f"{web[0]}/endless", internal=True)
    for module in (decode, fetch):
        monkeypatch.setattr(module, "MAX_ENCODED_BYTES", 1 << 27)
    assert fetch_bytes(f"{web[0]}/endless", internal=True) == bytes(64 << 20)


def test_a_store_that_answers_too_late_is_named(monkeypatch: pytest.MonkeyPatch):
    class Slow:
        protocol = ("http",)

        def size(self, path: str) -> int:
            raise FSTimeoutError

    monkeypatch.setattr(Store, "_fs", lambda _: (Slow(), "http://host"))
    with pytest.raises(StoreError, match=r"http://host/a.mp3 cannot be read or written \(FSTimeoutError\)"):
        Store("http://host").size("a.mp3")


def test_a_song_that_meets_a_bug_of_its_decoder_is_quarantined(task: ShardTask, monkeypatch: pytest.MonkeyPatch):
    def buggy(song: Song, *_: object) -> Clip:
        raise (IndexError("out of range") if song.key == "b" else OSError("the disk is gone"))

    monkeypatch.setattr(shard, "decode_song", buggy)
    out = Store(str(task.store.local_path("elsewhere")))
    alone = replace(task, store=out, songs=task.songs[1:2])
    assert write_shard(alone).quarantined == {"b": "decoding failed: IndexError: out of range"}
    with pytest.raises(OSError, match="the disk is gone") as caught:  # no fault of the song
        write_shard(replace(alone, songs=task.songs[:1], plan_digest="other"))
    assert caught.value.__notes__ == [f"while {task.songs[0].path} was read"]
