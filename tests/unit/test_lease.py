"""One writer at a time: who gets the lease of a store, who may take it over, and which jobs need it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.job_runs import run
from helpers.leases import check_commit, check_one_writer, check_race, check_takeover, enter, hold_elsewhere
from helpers.small_corpus import NUM_SONGS, SETTINGS, VOCABULARY, make_song, shard_here

from genrescale.config import SiteConfig
from genrescale.config.corpus import SynthesisConfig
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.sharding import job as shard_job
from genrescale.data.sharding.errors import CorpusChangedError
from genrescale.data.sharding.job import shard_tasks, write_corpus
from genrescale.data.sharding.plan_file import fix_plan, read_plan
from genrescale.data.sharding.synthetic import synthesize_corpus
from genrescale.data.sharding.writer import write_shard
from genrescale.data.upkeep.mix import mix_corpora
from genrescale.data.upkeep.take_down import take_down
from genrescale.data.upkeep.verify_corpus import verify_corpus
from genrescale.describe.page import write_page
from genrescale.inventory import deletion
from genrescale.launch.sweep import only_trainer, run_sweep
from genrescale.results import PLANNED_PATH
from genrescale.storage import lease as leases
from genrescale.storage import versions
from genrescale.storage.errors import BusyError, LeaseLostError
from genrescale.storage.lease import LEASE_PATH, Holder, writing
from genrescale.storage.processes import began, is_dead, machine
from genrescale.storage.store import Store
from genrescale.storage.versions import Version

RUN = "0123456789ab"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "corpus"))


@pytest.fixture(params=["local", "memory"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(f"memory://{tmp_path}" if request.param == "memory" else str(tmp_path / "a [2]::b" / "corpus"))


def test_one_job_writes_at_a_time(any_store: Store):
    check_one_writer(any_store)


def test_of_several_jobs_at_once_one_gets_the_lease(store: Store):
    check_race(store)


def test_a_job_that_lost_its_lease_publishes_nothing(any_store: Store):
    check_takeover(any_store)


def test_a_job_that_loses_its_lease_at_the_last_moment_publishes_nothing(any_store: Store):
    check_commit(any_store)


def test_an_empty_folder_is_not_left_behind(store: Store, tmp_path: Path):
    with pytest.raises(ValueError, match="no songs"):
        fix_plan([], VOCABULARY, SETTINGS, store)
    assert list(tmp_path.iterdir()) == []


def test_the_lease_of_a_dead_process_is_taken_over_at_once(store: Store):
    dead = subprocess.Popen(["true"])
    dead.wait()
    for pid, started in ((dead.pid, 1), (os.getpid(), began(os.getpid()) - 1)):  # the second: an id that is used again
        left = replace(Holder.this_process("shard_corpus"), pid=pid, began=started)
        store.write_bytes(LEASE_PATH, left.data())
        enter(store)
        assert store.list() == []


def test_a_process_of_another_machine_is_not_taken_for_dead(store: Store):
    dead = subprocess.Popen(["true"])
    dead.wait()
    store.write_bytes(LEASE_PATH, replace(hold_elsewhere(store), pid=dead.pid).data())
    with pytest.raises(BusyError, match=r"if its machine is gone: in \d+ s, or at once if you delete .*/lease\.json\)"):
        enter(store)


def test_a_lease_that_was_not_renewed_is_taken_over(store: Store, tmp_path: Path):
    hold_elsewhere(store)
    os.utime(tmp_path / "corpus" / LEASE_PATH, (0, 0))
    enter(store)
    assert store.list() == []


def test_a_lease_from_the_future_is_taken_over_unless_its_process_lives_here(store: Store, tmp_path: Path):
    lease, later = tmp_path / "corpus" / LEASE_PATH, time.time() + 7200
    hold_elsewhere(store)
    os.utime(lease, (later, later))
    enter(store)
    assert store.list() == []
    store.write_bytes(LEASE_PATH, Holder.this_process("shard_corpus").data())
    os.utime(lease, (later, later))
    with pytest.raises(BusyError, match=r"or end it, and run this again$"):
        enter(store)


def test_clocks_of_machines_are_not_compared(store: Store):
    store.write_bytes(LEASE_PATH, replace(hold_elsewhere(store), since="1999-12-31 23:59:59 UTC").data())
    with pytest.raises(BusyError, match="since 1999-12-31 23:59:59 UTC"):
        enter(store)


def test_a_lease_that_nobody_can_read_is_respected_until_it_is_out_of_date(store: Store, tmp_path: Path):
    for data in (b"", b"{}", b'{"pid": "x"}', replace(hold_elsewhere(store), pid=-1).data()):
        store.write_bytes(LEASE_PATH, data)
        with pytest.raises(BusyError, match=r"a job that its lease\.json does not name"):
            enter(store)
    os.utime(tmp_path / "corpus" / LEASE_PATH, (0, 0))
    enter(store)


def test_a_thread_renews_the_lease(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leases, "HEARTBEAT_S", 0.001)
    with writing(store, "job") as lease:
        while '"beat": 3' not in store.read_bytes(LEASE_PATH).decode():
            assert lease._thread.is_alive()
            time.sleep(0.001)
        lease.check()
    assert store.list() == []


def test_a_lease_that_was_deleted_by_hand_is_named_and_written_again(store: Store):
    with writing(store, "job") as lease:
        store.delete(LEASE_PATH)
        with pytest.raises(LeaseLostError, match=r"its .*corpus/lease\.json was deleted, by hand or"):
            lease.check()
        assert lease._renew()
        lease.check()
        lease.publish("manifest.json", b"1")
    assert store.list() == ["manifest.json"]


def test_a_job_that_was_stopped_for_long_does_not_write_a_deleted_lease_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    """The job that took it over may have ended."""
    with writing(store, "stopped") as stopped:
        store.delete(LEASE_PATH)
        awake = leases._now_s() + leases.EXPIRY_S
        monkeypatch.setattr(leases, "_now_s", lambda: awake)
        assert not stopped._renew()
        with pytest.raises(LeaseLostError, match="was deleted"):
            stopped.publish("manifest.json", b"stale")
        assert store.list() == []


def test_a_store_that_fails_for_a_moment_does_not_end_the_lease(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(leases, "HEARTBEAT_S", 0.001)
    failures = iter(range(3))
    whole = Store.read_version

    def fails_at_first(self: Store, *arguments: Any) -> Any:
        if next(failures, None) is not None:
            raise OSError("no connection")
        return whole(self, *arguments)

    with writing(store, "job") as lease:
        monkeypatch.setattr(Store, "read_version", fails_at_first)
        while next(failures, None) is not None or '"beat": 0' in store.read_bytes(LEASE_PATH).decode():
            assert lease._thread.is_alive()
            time.sleep(0.001)


def test_a_process_is_known_by_its_id_and_beginning():
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    since = began(sleeper.pid)
    assert since > 0
    assert not is_dead(sleeper.pid, since)
    sleeper.send_signal(signal.SIGSTOP)
    assert not is_dead(sleeper.pid, since)  # it may go on
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(sleeper.pid, since)  # nobody has waited for it yet
    sleeper.wait()
    assert is_dead(sleeper.pid, since)
    assert not is_dead(1, began(1))
    assert machine() == machine() != ""


class Refused(Exception):
    """What botocore raises for an answer."""

    def __init__(self, status: int, code: str = "") -> None:
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code or str(status)}}


@pytest.mark.parametrize(("written", "is_ours"), [(b"mine", True), (b"another's", False)])
def test_a_write_in_s3_whose_answer_was_lost_is_known_by_its_bytes(
    monkeypatch: pytest.MonkeyPatch, written: bytes, is_ours: bool
):
    """The client sends it again, and meets what it wrote itself, or what another job wrote."""
    monkeypatch.setattr(versions, "read_version", lambda *_: Version(written))

    def refuse(status: int, *_: Any, **__: Any) -> None:
        raise OSError("refused") from Refused(status)

    for status in (409, 412):
        bucket = SimpleNamespace(protocol=("s3", "s3a"), call_s3=partial(refuse, status))
        assert versions.write_if(bucket, "music/a/lease.json", b"mine", None) == is_ours
    with pytest.raises(OSError, match="refused"):
        versions.write_if(SimpleNamespace(protocol="s3", call_s3=partial(refuse, 403)), "music/a", b"mine", None)


class _Bucket:
    """A bucket, as s3fs shows it, of a server that refuses every condition of a write."""

    protocol = ("s3", "s3a")

    def __init__(self, refusal: Refused) -> None:
        self.objects: dict[str, bytes] = {}
        self._refusal = refusal

    def call_s3(self, method: str, **_: Any) -> None:
        assert method == "put_object"
        raise OSError("a header you provided implies functionality that is not implemented") from self._refusal

    def pipe_file(self, full: str, data: bytes) -> None:
        self.objects[full] = data


def _version_in(bucket: _Bucket, full: str, limit: int) -> Version | None:
    data = bucket.objects.get(full)
    return None if data is None else Version(data[:limit], etag=f'"{len(data)} {data[:1]!r}"')


@pytest.mark.parametrize("refusal", [Refused(501), Refused(501, "NotImplemented"), Refused(400, "NotImplemented")])
def test_a_server_that_compares_no_versions_is_compared_and_read_back(
    monkeypatch: pytest.MonkeyPatch, refusal: Refused
):
    monkeypatch.setattr(versions, "read_version", _version_in)
    bucket, path = _Bucket(refusal), "music/a/lease.json"
    assert versions.write_if(bucket, path, b"first", None)
    assert not versions.write_if(bucket, path, b"second", None)
    first = _version_in(bucket, path, 100)
    assert versions.write_if(bucket, path, b"second, and longer", first)
    assert not versions.write_if(bucket, path, b"third", first)
    assert bucket.objects == {path: b"second, and longer"}
    monkeypatch.setattr(bucket, "pipe_file", lambda *_: None)  # another job writes at the same time, and remains
    assert not versions.write_if(bucket, path, b"third", _version_in(bucket, path, 100))


@pytest.mark.parametrize(("error", "status"), [(BusyError("taken"), 2), (LeaseLostError("lost"), 1)])
def test_a_job_says_in_one_line_that_another_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
):
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr("genrescale.data.sharding.plan_file.fix_plan", refuse)
    (tmp_path / "music/rock").mkdir(parents=True)
    make_song(tmp_path / "music/rock", 0)
    ended = run("shard_corpus", f"audio={tmp_path}/music", f"out={tmp_path}/out")
    assert (ended.returncode, ended.stderr) == (status, f"shard_corpus: {error}\n")


def _songs(folder: Path) -> list[Any]:
    return [make_song(folder, i) for i in range(4)]


class _Trial:
    run_id, planned = RUN, ()


def _sweep(corpus: Manifest, out: Store) -> None:
    run_sweep([], SiteConfig(corpus=corpus.uri, out=out.uri))


def _sweep_whose_run_trains(corpus: Manifest, out: Store) -> None:
    out.delete(LEASE_PATH)
    hold_elsewhere(out.child(f"runs/{RUN}"))
    run_sweep([_Trial()], SiteConfig(corpus=corpus.uri, out=out.uri))  # type: ignore[list-item]


def _train(corpus: Manifest, out: Store) -> None:
    planned = {"run_id": RUN, "axis": "grid", "model": "waveform", "size": 1, "seed": 0, "lr": 0.1, "layers": {}}
    out.write_bytes(PLANNED_PATH, json.dumps([planned | {"config": {}}]).encode())
    with only_trainer(out, "f" * 12):
        pass  # another run may be trained beside a sweep
    with only_trainer(out, RUN):
        pass


WRITERS: dict[str, Callable[[Manifest, Store], object]] = {
    "plan": lambda corpus, out: fix_plan(_songs(Path(corpus.uri)), VOCABULARY, SETTINGS, out),
    "shard": lambda corpus, out: write_corpus(read_plan(Store(corpus.uri)), out),
    "take down": lambda corpus, out: take_down(out, ["s00"], "test"),
    "mix": lambda corpus, out: mix_corpora([corpus, corpus], out),
    "rebuild": lambda corpus, out: verify_corpus(replace(corpus, uri=out.uri), [0], True, True),
    "describe": lambda corpus, out: write_page(out, "page", corpus),
    "synthesise": lambda corpus, out: synthesize_corpus(out, SynthesisConfig(songs=2)),
    "delete": lambda corpus, out: deletion(out, "corpus").run(),
    "sweep": _sweep,
    "sweep beside train": _sweep_whose_run_trains,
    "train beside sweep": _train,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_every_job_that_writes_is_refused_beside_another(manifest: Manifest, tmp_path: Path, writer: str):
    out = Store(str(tmp_path / "out"))
    for path in ("plan.parquet", "manifest.json"):
        out.write_bytes(path, Store(manifest.uri).read_bytes(path))
    hold_elsewhere(out, "mix_corpora")
    with pytest.raises(BusyError, match=r"is being written by (mix_corpora|shard_corpus) \(process \d+ on "):
        WRITERS[writer](manifest, out)
    assert "manifest.json" in out.list()


def test_sharding_leaves_no_lease_and_goes_on_after_a_dead_job(tmp_path: Path):
    songs, out = _songs(tmp_path), Store(str(tmp_path / "out"))
    whole = set(Store(shard_here(songs, Store(str(tmp_path / "whole"))).manifest.uri).list())
    out.write_bytes(LEASE_PATH, replace(Holder.this_process("shard_corpus"), began=1).data())
    shard_here(songs, out)
    assert set(out.list()) == whole
    assert LEASE_PATH not in whole


def test_a_task_of_a_job_that_lost_its_lease_writes_no_shard(tmp_path: Path):
    out = Store(str(tmp_path / "out"))
    with writing(out, "shard_corpus"):
        task = shard_tasks(fix_plan(_songs(tmp_path), VOCABULARY, SETTINGS, out), out, {})[0]
        hold_elsewhere(out, "take_down")
        with pytest.raises(LeaseLostError, match=r"take_down .*has taken over"):
            write_shard(task)
        assert out.list("shards") == []


def test_a_job_that_lost_its_lease_writes_neither_quarantine_nor_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = Store(str(tmp_path / "out"))
    plan = fix_plan(_songs(tmp_path), VOCABULARY, SETTINGS, out)

    def taken_over(*_: Any, **__: Any) -> list[Any]:
        hold_elsewhere(out, "take_down")
        return []

    monkeypatch.setattr("genrescale.data.sharding.job.run_tasks", taken_over)
    with pytest.raises(LeaseLostError, match=r"take_down .*has taken over"):
        write_corpus(plan, out)
    assert out.list() == [LEASE_PATH, "plan.parquet"]


def test_parts_that_a_killed_job_left_are_deleted_and_not_that_of_a_renewal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = Store(str(tmp_path))
    gone, left, renewal = (f".{name}.0123abcd.part" for name in ("quarantine.parquet", "plan.parquet", LEASE_PATH))
    for name in (left, renewal):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(Store, "list", lambda *_: [gone, left, renewal, LEASE_PATH])
    shard_job._remove_parts(out)
    assert os.listdir(tmp_path) == [renewal]


def test_a_page_of_songs_that_went_is_not_written(copy: Manifest):
    out = Store(copy.uri)
    take_down(out, ["s00"], "test")
    with pytest.raises(CorpusChangedError, match="run this again"):
        write_page(out, "page with a clip of s00", copy)
    assert "describe.html" not in out.list()
    assert write_page(out, "page", read_manifest(out.uri)).endswith("describe.html")
    assert len(read_manifest(out.uri)) < NUM_SONGS
