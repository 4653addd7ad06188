"""A small file that several jobs write: its version, its age by the store's own clock, and writes of one job only.

In a bucket the server compares versions (``If-Match``), on a local disk it is done under a lock of the folder. Other
object stores, and servers of S3 that refuse to compare, compare nothing: there a write is read back, and the last of
two jobs that write at once remains.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast

from fsspec.asyn import sync

from genrescale.storage.local import open_plain, part_of
from genrescale.storage.retry import service_code, status_of

_NOT_THAT_VERSION, _CHANGES_NOW, _NOT_IMPLEMENTED = 412, 409, 501
_LOCK_S, _LOCK_PAUSE_S = 10.0, 0.01
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True)
class Version:
    """What a file holds, and by which name its store knows these bytes ("" where the bytes themselves are compared)."""

    data: bytes
    etag: str = ""


def read_version(fs: Any, full: str, limit: int) -> Version | None:
    """Return the first ``limit`` bytes of a file and their version; None if there is no such file."""
    try:
        if _is_s3(fs):
            bucket, _, key = full.partition("/")
            answer = fs.call_s3("get_object", Bucket=bucket, Key=key)
            return Version(_start(fs, answer["Body"], limit), answer["ETag"])
        if _is_local(fs):
            with open_plain(Path(full)) as file:
                return Version(file.read(limit))
        return Version(fs.cat_file(full, 0, limit))
    except FileNotFoundError:
        return None


def write_if(fs: Any, full: str, data: bytes, before: Version | None) -> bool:
    """Write a file if it still is the version ``before`` (None: if there is none), and return whether it was."""
    if _is_local(fs):
        return _replace_if(Path(full), data, before)
    if _is_s3(fs):
        try:
            return _put_if(fs, full, data, before)
        except OSError as error:
            if status_of(error) != _NOT_IMPLEMENTED and service_code(error) != "NotImplemented":
                raise
    limit = 1 + max(len(data), len(before.data) if before else 0)
    if read_version(fs, full, limit) != before:
        return False
    fs.pipe_file(full, data)
    return _holds(fs, full, data)


def age_s(fs: Any, full: str) -> float:
    """Return how long ago a file was written, in seconds, by the clock of the store. Writes a probe where it must."""
    if _is_s3(fs):
        bucket, _, key = full.partition("/")
        answer = fs.call_s3("head_object", Bucket=bucket, Key=key)
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return (now - answer["LastModified"]).total_seconds()
    folder, _, name = full.rpartition("/")
    probe = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}.part"
    if _is_local(fs):
        Path(probe).touch()
        try:
            return os.stat(probe).st_mtime - os.stat(full).st_mtime
        finally:
            Path(probe).unlink(missing_ok=True)
    fs.pipe_file(probe, b"")
    try:
        return (fs.modified(probe) - fs.modified(full)).total_seconds()
    finally:
        fs.rm_file(probe)


def _is_s3(fs: Any) -> bool:
    return "s3" in fs.protocol


def _is_local(fs: Any) -> bool:
    return "file" in fs.protocol


def _start(fs: Any, body: Any, limit: int) -> bytes:
    """Read the first bytes of an answer of botocore, in the loop of its file system."""

    async def read() -> bytes:
        data = bytearray()
        async with body:
            while len(data) < limit and (part := await body.read(limit - len(data))):  # a read gives what has arrived
                data += part
        return bytes(data)

    return cast(bytes, sync(fs.loop, read))


def _put_if(fs: Any, full: str, data: bytes, before: Version | None) -> bool:
    bucket, _, key = full.partition("/")
    condition = {"IfMatch": before.etag} if before else {"IfNoneMatch": "*"}
    try:
        fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition)
    except FileNotFoundError as error:  # IfMatch of an object that is gone
        if service_code(error) != "NoSuchKey":
            raise
        return False
    except OSError as error:
        if status_of(error) not in (_NOT_THAT_VERSION, _CHANGES_NOW):
            raise
        # a request that was sent again because its answer was lost meets what it wrote itself
    return _holds(fs, full, data)  # also for servers that ignore the condition


def _holds(fs: Any, full: str, data: bytes) -> bool:
    found = read_version(fs, full, len(data) + 1)
    return found is not None and found.data == data


def _replace_if(path: Path, data: bytes, before: Version | None) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        if before is None:
            return _create(path, data)
        try:
            with open_plain(path) as file:
                same = file.read(len(before.data) + 1) == before.data
        except FileNotFoundError:
            return False
        if same:
            with part_of(path) as part:
                part.write_bytes(data)
        return same


def _create(path: Path, data: bytes) -> bool:
    """Create a whole file, unless there is one: by a link, which is atomic also where folders cannot be locked."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.write_bytes(data)
        try:
            os.link(part, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS or path.exists():
                raise
            os.replace(part, path)
        return True
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which ends with the process. Where folders have none (NFS), nothing is held."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    give_up = time.monotonic() + _LOCK_S
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise TimeoutError("another process has locked it for long; is it stopped?") from None
                time.sleep(_LOCK_PAUSE_S)
            except OSError:
                break
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)
