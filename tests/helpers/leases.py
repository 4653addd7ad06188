"""What every store promises of leases, as checks of one store; and a lease of another machine's job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from genrescale.storage import lease as leases
from genrescale.storage.errors import BusyError, LeaseLostError
from genrescale.storage.lease import LEASE_PATH, Holder, writing
from genrescale.storage.store import Store

RACERS = 8


def hold_elsewhere(store: Store, job: str = "shard_corpus") -> Holder:
    """Leave the lease of a job on another machine, which has the name of this one."""
    holder = replace(Holder.this_process(job), machine="another one", token="a" * 32)
    store.write_bytes(LEASE_PATH, holder.data())
    return holder


def check_one_writer(store: Store) -> None:
    """The second job is told who writes; the lease ends with its job, also by Ctrl-C."""
    with suppress(KeyboardInterrupt), writing(store, "take_down") as lease:
        with writing(store, "write_manifest") as inner:
            assert inner is lease
        [refused] = in_threads(1, lambda: enter(store))
        assert isinstance(refused, BusyError)
        assert f"{store.uri} is being written by take_down (process " in str(refused)
        assert "wait until it has ended, or end it, and run this again" in str(refused)
        lease.publish("manifest.json", b"1")
        lease.publish("manifest.json", b"2")
        raise KeyboardInterrupt
    assert store.list() == ["manifest.json"]
    assert store.read_bytes("manifest.json") == b"2"
    assert enter(store) is None


def check_race(store: Store) -> None:
    """Of several jobs that begin at once, one gets the lease: where there is none, and where one is out of date."""
    for left_behind in (False, True):
        barrier, over = threading.Barrier(RACERS), threading.Barrier(RACERS)
        if left_behind:
            hold_elsewhere(store)

        def race(barrier: threading.Barrier = barrier, over: threading.Barrier = over) -> None:
            barrier.wait()
            try:
                with writing(store, "racer") as lease:
                    over.wait()
                    lease.check()
            except BusyError:
                over.wait()
                raise

        with pytest.MonkeyPatch.context() as patch:
            if left_behind:
                patch.setattr(leases, "_refuse_live", _refuse_all_but("a" * 32))
            ended = in_threads(RACERS, race)
        assert sorted(map(_kind, ended)) == ["BusyError"] * (RACERS - 1) + ["NoneType"]
        assert store.list() == []


def check_takeover(store: Store) -> None:
    """A job that was stopped for long finds out that it may not write any more, and leaves the other's lease alone."""
    with writing(store, "stopped") as stopped:
        stopped.publish("manifest.json", b"before")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(leases, "EXPIRY_S", -1.0)
            [ended] = in_threads(1, lambda: _take_over_from(store, stopped))
        assert ended is None, ended
    assert store.read_bytes("manifest.json") == b"after"
    assert store.list() == ["manifest.json"]


def _take_over_from(store: Store, stopped: leases.Lease) -> None:
    with writing(store, "successor") as lease:
        with pytest.raises(LeaseLostError, match=r"successor .*has taken over"):
            stopped.check()
        with pytest.raises(LeaseLostError):
            stopped.publish("manifest.json", b"stale")
        assert not stopped._renew()
        stopped.release()
        lease.publish("manifest.json", b"after")
        lease.check()


def check_commit(store: Store) -> None:
    """A job that loses its lease in the moment of its last look at it overwrites nothing."""
    with writing(store, "stopped") as stopped, pytest.MonkeyPatch.context() as patch:
        looked = iter([True])

        def look_and_sleep(claim: leases.Claim) -> None:
            if next(looked, False):
                hold_elsewhere(store)
                store.write_bytes("manifest.json", b"of the successor")
            else:
                raise LeaseLostError

        patch.setattr(leases.Claim, "check", look_and_sleep)
        with pytest.raises(LeaseLostError):
            stopped.publish("manifest.json", b"stale")
    assert store.read_bytes("manifest.json") == b"of the successor"


def enter(store: Store) -> None:
    with writing(store, "other"):
        pass


def in_threads(count: int, function: Callable[[], object]) -> list[BaseException | None]:
    """What each of several threads ended with. Two threads are to a lease as two processes."""
    ended: list[BaseException | None] = [None] * count

    def run(i: int) -> None:
        try:
            function()
        except BaseException as error:
            ended[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ended


def _refuse_all_but(token: str) -> Callable[..., None]:
    def refuse(store: Store, found: leases.Version) -> None:
        if token.encode() not in found.data:
            raise BusyError("busy")

    return refuse


def _kind(error: BaseException | None) -> str:
    return type(error).__name__
