"""Everything through a real S3 server: songs, shards, streaming, checkpoints, results and reports."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import s3fs
from helpers.job_runs import RunJob
from helpers.proxy import Fault, faulty_proxy
from helpers.servers import S3Server
from helpers.sweeps import ONE_SIZE, make_trial, write_run

from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.reading.crops import SongTable, read_crops
from genrescale.data.reading.spans import DamagedShardError
from genrescale.data.upkeep.verify import verify_shard
from genrescale.results import read_results, write_planned
from genrescale.storage.errors import TooLargeError
from genrescale.storage.store import Store

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
SCORES = ("roc_auc", "pr_auc", "rmse", "val_loss", "best_step")
SETTINGS = ["songs_per_shard=16", "val_fraction=0.2", "test_fraction=0.2"]


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # clients of another test's server
    return Store("s3://music")


def process(name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A job as a process of its own, which has nothing but its environment."""
    command = [sys.executable, f"jobs/{name}.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=400)


@pytest.fixture
def sharded(bucket: Store, job: RunJob, audio_folder: Path, corpus: Manifest) -> str:
    """The songs of ``corpus`` in the bucket, sharded there; what the job said."""
    songs = Store(str(audio_folder))
    for path in songs.list():
        bucket.write_bytes(f"songs/{path}", songs.read_bytes(path))
    ended = job(
        "shard_corpus", "corpus=synthetic", "audio=s3://music/songs", "store=s3://music", "out=shards", *SETTINGS
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


def test_songs_are_sharded_from_bucket_to_bucket_as_from_folder_to_folder(
    sharded: str, bucket: Store, job: RunJob, corpus: Manifest, server: S3Server
):
    assert read_manifest("s3://music/shards").version == corpus.version
    verified = job("verify_corpus", "corpus=s3://music/shards")
    assert verified.returncode == 0, verified.stdout
    for path in bucket.list("shards"):
        assert server.secret_key.encode() not in bucket.read_bytes(path), path
    assert server.secret_key not in sharded + verified.stdout


@pytest.mark.soak
def test_the_sweep_runs_from_bucket_to_bucket_as_it_does_on_local_folders(
    sharded: str, bucket: Store, job: RunJob, server: S3Server, near: Store
):
    with faulty_proxy(server.endpoint) as proxy:  # a network that fails at every fifth read of a shard
        proxy.of_shards = (Fault("busy"), Fault("cut", 600), Fault("cut", 50_000))
        places = ("store=s3://music", "corpus=shards", "out=sweep")
        far = process("scale_sweep", *ONE_SIZE, "families=[waveform]", *places, AWS_ENDPOINT_URL=proxy.endpoint)
    assert far.returncode == 0, far.stderr
    assert "s3://music/sweep/report.html" in far.stdout
    rows = read_results(bucket.child("sweep"))
    [row] = rows.values()
    same = read_results(near)[row.run_id]
    assert [getattr(row, name) for name in SCORES] == [getattr(same, name) for name in SCORES]
    assert 0 < row.storage_retries <= proxy.happened.total()
    for path in (f"runs/{row.run_id}/scores.parquet", f"runs/{row.run_id}/curve.parquet"):
        assert bucket.read_bytes(f"sweep/{path}") == near.read_bytes(path)
    written = bucket.list("sweep")
    for id in rows:
        assert any(path.startswith(f"sweep/checkpoints/{id}/") for path in written)

    again = job("scale_sweep", *ONE_SIZE, "families=[waveform]", *places)
    assert "1 of them from before" in again.stdout
    for path in written:
        assert server.secret_key.encode() not in bucket.read_bytes(path), path
    assert server.secret_key not in far.stdout + far.stderr


def test_songs_are_synthesised_into_a_bucket(bucket: Store, job: RunJob):
    made = job("synthesize_corpus", "store=s3://music", "out=synthetic", "songs=3", "min_s=3.1", "max_s=4")
    assert made.returncode == 0, made.stderr
    assert {"songs.parquet", "vocabulary.json"} <= set(bucket.child("synthetic").list())
    assert len(bucket.child("synthetic").list("songs/")) == 3


def test_a_wrong_key_is_one_sentence(bucket: Store):
    ended = process("verify_corpus", "corpus=s3://music/shards", AWS_SECRET_ACCESS_KEY="wrong")
    assert ended.returncode == 2
    assert "s3://music/shards/manifest.json: access denied" in ended.stderr
    assert "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_server_that_does_not_answer_is_one_sentence(bucket: Store):
    ended = process("verify_corpus", "corpus=s3://music/shards", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert ended.returncode == 2
    assert "s3://music/shards/manifest.json cannot be read or written" in ended.stderr
    assert "http://127.0.0.1:9" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_missing_object_is_named(bucket: Store):
    with pytest.raises(FileNotFoundError, match="s3://music/nothing/here does not exist"):
        bucket.read_bytes("nothing/here")
    assert bucket.list("nothing") == []
    assert not bucket.exists("nothing")


def test_a_large_file_is_written_in_parts_and_whole(bucket: Store):
    data = os.urandom(70 << 20)  # above the size of one part
    with bucket.whole_file("large") as file:
        file.write(data)
        assert not bucket.exists("large")
    assert bucket.read_bytes("large") == data
    assert bucket.read_range("large", 60 << 20, 1000) == data[60 << 20 :][:1000]
    with suppress(RuntimeError), bucket.whole_file("broken") as file:
        file.write(b"half")
        raise RuntimeError
    assert not bucket.exists("broken")


def test_a_truncated_shard_is_named_and_its_range_is_short(bucket: Store, job: RunJob, corpus: Manifest):
    files, name = Store(corpus.uri), corpus.shard_name(0)
    for path in files.list():
        bucket.write_bytes(f"cut/{path}", files.read_bytes(path))
    whole = files.read_bytes(name)
    bucket.write_bytes(f"cut/{name}", whole[: len(whole) // 2])
    cut = bucket.child("cut")
    assert cut.read_range(name, len(whole) // 2 - 10, 100) == whole[len(whole) // 2 - 10 : len(whole) // 2]
    assert cut.read_range(name, len(whole) - 100, 100) == b""  # the server answers 416
    found = job("verify_corpus", "corpus=s3://music/cut")
    assert found.returncode == 1
    assert f"{name}: truncated, {len(whole) // 2} bytes instead of {len(whole)}" in found.stdout
    assert "is cut off, 0 of" in found.stdout
    assert "Traceback" not in found.stderr
    table = SongTable.of(read_manifest(cut.uri), corpus.shard_rows(0)[-1:])
    with pytest.raises(DamagedShardError, match="is truncated: song"):
        read_crops(table, np.array([0]), np.array([0]), 16_000)


def test_a_sweep_and_a_corpus_in_a_bucket_are_listed_and_deleted(bucket: Store, job: RunJob, corpus: Manifest):
    store = bucket.child("housekeeping")
    for path in Store(corpus.uri).list():
        store.write_bytes(f"shards/{path}", Store(corpus.uri).read_bytes(path))
    write_planned(store.child("sweep"), plan := [make_trial("waveform", 100, 0)])
    write_run(store.child("sweep"), plan[0])
    described = job("describe_corpus", f"corpus={store.uri}/shards", "cpus=2", "labels=2", "loudness_songs=4")
    assert described.returncode == 0, described.stderr
    assert store.child("shards").size("describe.html") > 100_000
    key = corpus.songs["key"][0].as_py()
    assert job("take_down", f"corpus={store.uri}/shards", f"songs=[{key}]", "reason=test").returncode == 0
    left = read_manifest(store.child("shards").uri)
    assert (len(left), key in left.songs["key"].to_pylist()) == (len(corpus) - 1, False)
    assert not verify_shard(store.child("shards"), left, 0)
    listed = job("inventory", f"store={store.uri}")
    assert f"{len(corpus) - 1} songs" in listed.stdout
    assert "1 of 1 planned runs finished" in listed.stdout
    asked = job("inventory", f"store={store.uri}", "at=sweep", "delete=sweep")
    assert "would delete" in asked.stdout
    assert store.child("sweep").list() != []
    assert job("inventory", f"store={store.uri}", "at=sweep", "delete=sweep", "yes=true").returncode == 0
    assert store.child("sweep").list() == []
    assert job("inventory", f"store={store.uri}", "at=shards", "delete=corpus", "yes=true").returncode == 0
    assert store.list() == []


def test_what_another_process_wrote_is_seen_at_once(bucket: Store):
    assert bucket.child("shared").list() == []
    subprocess.run(
        [
            sys.executable,
            "-c",
            "from genrescale.storage.store import Store; Store('s3://music/shared').write_bytes('a', b'1')",
        ],
        check=True,
        cwd=ROOT,
    )
    assert bucket.child("shared").list() == ["a"]


def test_a_name_with_wildcards_or_colons_is_a_name(bucket: Store, job: RunJob):
    """fsspec expands [ ] * ? where it deletes, and chains file systems at ::."""
    names, paths = ("FMA 2", "FMA [2]", "FMA *", "FMA ?", "A::B"), ("describe.html", "shards/train-000000.tar")
    for name in names:
        for path in paths:
            bucket.child(f"wild/{name}").write_bytes(path, name.encode())
    for name in names[1:]:
        assert Store(f"s3://music/wild/{name}").read_bytes("describe.html") == name.encode()
        bucket.child(f"wild/{name}").delete("describe.html")
        assert bucket.child(f"wild/{name}").list() == ["shards/train-000000.tar"]
    assert bucket.child("wild/FMA 2").list() == list(paths)
    deleted = job("inventory", "store=s3://music/wild", "at='FMA [2]'", "delete=corpus", "yes=true")
    assert "is not a corpus" in deleted.stderr
    for name in ("FMA 2", "FMA [2]"):
        bucket.child(f"wild/{name}").write_bytes("plan.parquet", b"begun")
    deleted = job("inventory", "store=s3://music/wild", "at='FMA [2]'", "delete=corpus", "yes=true")
    assert deleted.returncode == 0, deleted.stderr
    assert bucket.child("wild/FMA [2]").list() == []
    assert bucket.child("wild/FMA 2").list() == ["describe.html", "plan.parquet", "shards/train-000000.tar"]


def test_a_file_is_read_up_to_a_limit_whatever_its_size(bucket: Store):
    data = os.urandom((8 << 20) * 2)  # two whole parts: the third is behind the end
    bucket.write_bytes("parts", data)
    bucket.write_bytes("nothing", b"")
    assert bucket.read_bytes("parts") == bucket.read_bytes("parts", len(data)) == data
    with pytest.raises(TooLargeError, match=f"s3://music/parts has more than {len(data) - 1:,} bytes"):
        bucket.read_bytes("parts", len(data) - 1)
    assert bucket.read_bytes("nothing") == b""
    with bucket.opened("parts") as file:
        file.seek(-10, os.SEEK_END)
        assert file.read() == data[-10:]
