"""One writer at a time: a lease, ``lease.json`` in a store, that says who writes there since when.

The job that holds it renews it every HEARTBEAT_S seconds and deletes it at its end. Another job is refused with a
sentence. It takes the lease over if the process that holds it is dead, which only its own machine can tell, and else if
the lease was not renewed for EXPIRY_S by the clock of the store; clocks of machines are never compared. A lease of
another machine that is from the future was not renewed since that clock was set back. A job that was stopped for so
long, and lost its lease, finds that out before it publishes anything.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

from genrescale.storage.errors import BusyError, LeaseLostError, StoreError
from genrescale.storage.json_bytes import read_object
from genrescale.storage.processes import began, is_dead, machine
from genrescale.storage.store import Store
from genrescale.storage.versions import Version

LEASE_PATH = "lease.json"
HEARTBEAT_S = 10.0
EXPIRY_S = 60.0
_TRIES = 5  # of an acquisition: each one lost means that another job has just got or released the lease
_BYTES = 16 << 10
_SHOWN = 80  # characters of a text that anybody may have written there

_HELD: dict[tuple[str, int, int], Lease] = {}  # by place, process and thread


@dataclass(frozen=True)
class Holder:
    """Who writes: the job, its process, and ``token``, which is one for each lease; ``beat`` counts renewals."""

    job: str
    host: str
    machine: str
    pid: int
    began: int
    since: str
    token: str
    beat: int = 0

    @classmethod
    def this_process(cls, job: str) -> Holder:
        pid, since = os.getpid(), datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return cls(job, socket.gethostname(), machine(), pid, began(pid), since, uuid.uuid4().hex)

    def data(self) -> bytes:
        return json.dumps(asdict(self), indent=1).encode()

    def is_gone(self) -> bool:
        """Whether it ran on this machine and is dead."""
        return bool(self.machine) and self.machine == machine() and is_dead(self.pid, self.began)

    def __str__(self) -> str:
        job, host, since = (text[:_SHOWN] for text in (self.job, self.host, self.since))
        return f"{job} (process {self.pid} on {host}, since {since})"


def _holder(version: Version) -> Holder | None:
    """Read who holds a lease; None if the file does not say it."""
    with suppress(ValueError):
        values = read_object(version.data, LEASE_PATH)
        kinds = {field.name: int if field.type == "int" else str for field in fields(Holder)}
        if values.keys() == kinds.keys() and all(type(values[name]) is kind for name, kind in kinds.items()):
            holder = Holder(**values)
            return holder if 0 < holder.pid < 1 << 31 else None
    return None


@dataclass(frozen=True)
class Claim:
    """What a task of a job carries to its process, to find out whether the job still holds the lease of ``store``."""

    store: Store
    token: str

    def check(self) -> None:
        """Raise LeaseLostError if the job does not hold the lease any more."""
        found = self.store.read_version(LEASE_PATH, _BYTES)
        if found is None:
            raise LeaseLostError(
                f"this job writes nothing more, because its {self.store.uri}/{LEASE_PATH} was deleted, by hand or by "
                "a job that has taken over and ended; see that no other job writes there, then run this again"
            )
        if not _is_of(found, self.token):
            other = _holder(found) or "another job"
            raise LeaseLostError(
                f"this job was stopped or cut off for more than {EXPIRY_S:.0f} s, and {other} has taken over "
                f"{self.store.uri}, so it writes nothing more; wait until that one has ended, then run this again"
            )


class Lease:
    """The right to write to ``store``, which a thread renews until ``release``."""

    def __init__(self, store: Store, holder: Holder) -> None:
        self.store, self._holder = store, holder
        self._renewed_s = _now_s()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{holder.job}", daemon=True)
        self._thread.start()

    @property
    def claim(self) -> Claim:
        """The lease as its tasks know it."""
        return Claim(self.store, self._holder.token)

    def check(self) -> None:
        """Raise LeaseLostError if another job has taken the lease over, or it was deleted and not written again yet."""
        self.claim.check()

    def publish(self, path: str, data: bytes) -> None:
        """Write the file ``path``, which makes what was written before current.

        Raises LeaseLostError, and writes nothing, if another job has taken the lease over, even in this moment.
        """
        for _ in range(_TRIES):
            before = self.store.read_version(path)
            self.check()
            if self.store.write_if(path, data, before):
                return
        raise LeaseLostError(
            f"{self.store.uri}/{path} is changed by something else at this moment; end it and run again"
        )

    def release(self) -> None:
        """Delete the lease, unless another job has taken it over."""
        self._ended.set()
        self._thread.join()
        with suppress(StoreError, FileNotFoundError):  # nobody renews it, so it ends by itself
            if _is_of(self.store.read_version(LEASE_PATH, _BYTES), self._holder.token):
                self.store.delete(LEASE_PATH)

    def _keep(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            with suppress(StoreError, OSError):  # the store may answer again; until then nobody else gets the lease
                if not self._renew():
                    return

    def _renew(self) -> bool:
        """Renew the lease; return whether it is still ours."""
        now_s = _now_s()
        before = self.store.read_version(LEASE_PATH, _BYTES)
        if before is None and now_s - self._renewed_s > EXPIRY_S / 2:
            return False  # who took it over in the meantime may have ended
        if before is not None and not _is_of(before, self._holder.token):
            return False
        self._holder = replace(self._holder, beat=self._holder.beat + 1)
        ours = self.store.write_if(LEASE_PATH, self._holder.data(), before)  # again, where somebody deleted it by hand
        if ours or _is_of(self.store.read_version(LEASE_PATH, _BYTES), self._holder.token):
            self._renewed_s = now_s
            return True
        return False


def _now_s() -> float:
    """Return the time since this machine was booted, also that in which it slept or the process was stopped."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _is_of(version: Version | None, token: str) -> bool:
    holder = _holder(version) if version else None
    return holder is not None and holder.token == token


@contextmanager
def writing(store: Store, job: str) -> Iterator[Lease]:
    """Hold the lease of ``store`` for the block; inside of such a block of the same thread it is the same lease.

    Raises BusyError, in one sentence, if another job holds it.
    """
    key = (_place(store), os.getpid(), threading.get_ident())
    if (held := _HELD.get(key)) is not None:
        yield held
        return
    missing = _missing_folders(store)
    lease = _acquire(store, job)
    _HELD[key] = lease
    try:
        yield lease
    finally:
        del _HELD[key]
        lease.release()
        for folder in missing:
            with suppress(OSError):  # a job that was refused leaves no empty folder behind
                folder.rmdir()


def held(store: Store) -> Lease | None:
    """Return the lease of ``store`` that this thread holds."""
    return _HELD.get((_place(store), os.getpid(), threading.get_ident()))


def claim(store: Store) -> Claim | None:
    """Return the claim of this thread's lease of ``store``, for its tasks."""
    return None if (lease := held(store)) is None else lease.claim


def publish(store: Store, path: str, data: bytes) -> None:
    """Write a file that makes others current: by the lease, where one is held."""
    if (lease := held(store)) is not None:
        lease.publish(path, data)
    else:
        store.write_bytes(path, data)


def refuse_busy(store: Store) -> None:
    """Raise BusyError if a job holds the lease of ``store``; nothing is written."""
    if held(store) is None and (found := store.read_version(LEASE_PATH, _BYTES)) is not None:
        _refuse_live(store, found)


def _place(store: Store) -> str:
    folder = store.local_path()
    return store.uri.rstrip("/") if folder is None else os.path.realpath(folder)


def _missing_folders(store: Store) -> list[Path]:
    folder = store.local_path()
    return [] if folder is None else [path for path in (folder, *folder.parents) if not path.exists()]


def _acquire(store: Store, job: str) -> Lease:
    if store.uri.startswith(("http://", "https://")):
        raise ValueError(f"{store.uri} can only be read; give a folder or a bucket to write to")
    holder = Holder.this_process(job)
    for _ in range(_TRIES):
        if (found := store.read_version(LEASE_PATH, _BYTES)) is not None:
            _refuse_live(store, found)
        if store.write_if(LEASE_PATH, holder.data(), found):
            return Lease(store, holder)
    raise BusyError(f"{store.uri} is wanted by several jobs at this moment; run this again")


def _refuse_live(store: Store, found: Version) -> None:
    """Raise BusyError unless the job that holds the lease is dead, or the lease was not renewed for long."""
    holder = _holder(found)
    if holder and holder.is_gone():
        return
    try:
        age_s = store.age_s(LEASE_PATH)
    except FileNotFoundError:  # released in this moment
        return
    near = holder is not None and holder.machine == machine() != ""
    if age_s >= EXPIRY_S or (age_s < -EXPIRY_S and not near):
        return
    gone = f" (if its machine is gone: in {EXPIRY_S - age_s:.0f} s, or at once if you delete {store.uri}/{LEASE_PATH})"
    raise BusyError(
        f"{store.uri} is being written by {holder or f'a job that its {LEASE_PATH} does not name'}; wait until it has "
        f"ended, or end it, and run this again{'' if near else gone}"
    )
