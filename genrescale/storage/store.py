"""Object storage: the only place that knows whether bytes lie in a local folder or in a bucket.

A Store is a root URI and reads and writes paths relative to it. Writes are whole: a reader sees the old bytes or
the new ones, never half of them.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import fsspec

from genrescale.addresses import public_address, scrubbed
from genrescale.storage.retry import PATIENCE, Patience, is_passing, is_passing_status, service_code
from genrescale.storage.s3_ranges import read_s3_ranges

# Keys, region and endpoint come from the environment (AWS_*), where botocore finds them.
_S3_OPTIONS = {
    "use_listings_cache": False,  # other processes write what this one lists
    "config_kwargs": {
        "retries": {"mode": "standard", "max_attempts": 6},
        "connect_timeout": 5,
        "read_timeout": 30,
        "max_pool_connections": 64,
    },
}
_BLOCK_BYTES = 1 << 20
_PART_BYTES, _PARTS_AT_ONCE = 8 << 20, 8  # of a download: 64 MB of memory
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLIENTS = ("botocore", "aiobotocore", "aiohttp", "asyncio", "obstore")
_S3 = "s3://"


class StoreError(ValueError):
    """A store that cannot be reached or refuses; says which, why, and what to check, without credentials."""

    def __init__(self, message: str) -> None:
        super().__init__(scrubbed(message))


@dataclass(frozen=True)
class Store:
    """Files under one root: a local folder (``/data/corpus``, ``file:///data/corpus``) or any fsspec URI.

    Frozen and picklable, so it travels to Ray tasks. Every method raises StoreError for a bucket that cannot be
    reached or refuses the keys. ``patience`` is for reading ranges, which a run does for hours.
    """

    uri: str
    patience: Patience = PATIENCE

    def __post_init__(self) -> None:
        if not self.uri:
            raise ValueError("a store needs a folder or URI, e.g. corpus=/data/fma")
        if "://" not in self.uri:
            # Ray's processes run in other folders, where a relative path would name another place.
            object.__setattr__(self, "uri", os.path.abspath(os.path.expanduser(self.uri)))

    def _fs(self) -> tuple[Any, str]:
        # Any: fsspec's own annotations promise str or bytes, and sizes that may be None
        fs, root = fsspec.core.url_to_fs(self.uri, **(_S3_OPTIONS if self.uri.startswith(_S3) else {}))
        return fs, root.rstrip("/")

    @contextmanager
    def _at(self, path: str) -> Iterator[tuple[Any, str]]:
        """The file system and the full path; its errors name the address and what to do."""
        fs, root = self._fs()
        address = f"{self.uri}/{path}" if path else self.uri
        try:
            yield fs, f"{root}/{path}" if path else root
        except FileNotFoundError as error:
            if why := _outage(error):
                raise StoreError(f"{address} cannot be read ({why}); {_remedy(fs)}") from None
            raise FileNotFoundError(f"{address} does not exist") from None
        except PermissionError as error:
            raise StoreError(f"{address}: access denied ({error}); {_remedy(fs)}") from None
        except Exception as error:
            is_clients = service_code(error) or type(error).__module__.startswith(_CLIENTS)
            if not is_clients and not isinstance(error, TimeoutError):
                raise
            raise StoreError(
                f"{address} cannot be read or written ({str(error) or type(error).__name__}); {_remedy(fs)}"
            ) from None

    def child(self, path: str) -> Store:
        return replace(self, uri=f"{self.uri.rstrip('/')}/{path}")

    def local_path(self, path: str = "") -> Path | None:
        """The file's path where the store is a local folder, else None."""
        fs, root = self._fs()
        return Path(root, path) if "file" in fs.protocol else None

    def exists(self, path: str = "") -> bool:
        with self._at(path) as (fs, full):
            return fs.exists(full)

    def size(self, path: str) -> int:
        """Bytes of a file; 0 where an HTTP server does not say."""
        with self._at(path) as (fs, full):
            return int(fs.size(full) or 0)

    def list(self, prefix: str = "") -> list[str]:
        """Relative paths of all files under ``prefix``, sorted; an absent prefix has none."""
        with self._at("") as (fs, root):
            return sorted(self._files(fs, root, prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of every file under ``prefix`` (or of the file that it is), by relative path."""
        with self._at("") as (fs, root):
            return self._files(fs, root, prefix)

    @staticmethod
    def _files(fs: Any, root: str, prefix: str) -> dict[str, int]:
        """Bytes by relative path. A bucket may hold empty objects that stand for folders: they are no files."""
        found = fs.find(f"{root}/{prefix}", detail=True)
        files = {name: entry for name, entry in found.items() if not name.endswith("/") and name != root}
        return {os.path.relpath(name, root): int(entry["size"]) for name, entry in files.items()}

    def folders(self, prefix: str = "") -> list[str]:
        """Names of the folders right under ``prefix``, sorted; an absent prefix has none."""
        with self._at(prefix) as (fs, full):
            try:
                entries = fs.ls(full, detail=True)
            except FileNotFoundError:
                return []
            return sorted(os.path.basename(e["name"].rstrip("/")) for e in entries if e["type"] == "directory")

    def read_bytes(self, path: str) -> bytes:
        """Raises FileNotFoundError that names the full address."""
        with self._at(path) as (fs, full):
            return fs.cat_file(full)

    def download(self, path: str, target: Path, retried: Callable[[BaseException], None] = lambda error: None) -> None:
        """Write the whole of a file to ``target``, in parts that are fetched at the same time, patiently.

        ``retried`` is told of each error that was tried again. Raises what ``read_ranges`` raises, and StoreError where
        the file has another size than the store says.
        """
        size = self.size(path)
        parts = [(path, start, min(_PART_BYTES, size - start)) for start in range(0, size, _PART_BYTES)]
        with target.open("wb") as file:
            for i in range(0, len(parts), _PARTS_AT_ONCE):
                for data in self.read_ranges(parts[i : i + _PARTS_AT_ONCE], retried):
                    file.write(data)
            if file.tell() != size:
                raise StoreError(f"{self.uri}/{path} has {size} bytes, {file.tell()} came; try again")

    @contextmanager
    def opened(self, path: str) -> Iterator[IO[bytes]]:
        """A file to read parts of, wherever they lie. Raises FileNotFoundError that names the full address."""
        with self._at(path) as (fs, full), fs.open(full, "rb") as file:
            yield file

    def read_at_most(self, path: str, limit: int) -> bytes:
        """The first ``limit`` bytes of a file, for one whose size nobody says."""
        parts, left = [], limit
        with self._at(path) as (fs, full), fs.open(full, "rb") as file:
            while left and (data := file.read(min(left, _BLOCK_BYTES))):
                parts.append(data)
                left -= len(data)
        return b"".join(parts)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer where the file ends before."""
        return bytes(self.read_ranges([(path, offset, length)])[0])

    def read_ranges(
        self, ranges: Sequence[tuple[str, int, int]], retried: Callable[[BaseException], None] = lambda error: None
    ) -> list[memoryview]:
        """``read_range`` of every (path, offset, length), at the same time where the store is not local.

        A range whose connection fails or whose store is busy is read again from its start, for as long as ``patience``
        allows; ``retried`` is told of each error. Raises StoreError that names the file when patience ends.
        """
        found: dict[int, memoryview] = {}
        started = time.monotonic()
        for tries, pause in enumerate(self.patience.pauses(), 1):
            left = [i for i in range(len(ranges)) if i not in found]
            failed = None
            for i, data in zip(left, self._try_ranges([ranges[i] for i in left]), strict=True):
                if not isinstance(data, Exception):
                    found[i] = data
                elif not is_passing(data):
                    with self._at(ranges[i][0]):
                        raise data
                else:
                    failed = (ranges[i][0], data)
                    retried(data)
            if failed is None:
                break
            if (spent := time.monotonic() - started) + pause > self.patience.budget_s:
                raise StoreError(
                    f"{self.uri}/{failed[0]} could not be read in {tries} tries and {spent:.1f} s "
                    f"({failed[1]!r}); {_remedy(self._fs()[0])}, and site.storage_patience_s"
                ) from failed[1]
            time.sleep(pause)
        return [found[i] for i in range(len(ranges))]

    def _try_ranges(self, ranges: Sequence[tuple[str, int, int]]) -> list[memoryview | Exception]:
        """Each range or the error that it ended in; one that begins behind the end of its file is empty."""
        with self._at(ranges[0][0]):
            if self.uri.startswith(_S3):
                bucket, _, root = self.uri.removeprefix(_S3).rstrip("/").partition("/")
                keys = [(f"{root}/{path}" if root else path, offset, length) for path, offset, length in ranges]
                return read_s3_ranges(bucket, keys)
            fs, root = self._fs()
            starts, ends = [r[1] for r in ranges], [r[1] + r[2] for r in ranges]
            found = fs.cat_ranges([f"{root}/{r[0]}" for r in ranges], starts, ends, on_error="return")
        return [data if isinstance(data, Exception) else memoryview(data) for data in found]

    def write_bytes(self, path: str, data: bytes) -> None:
        local = self.local_path(path)
        if local is None:
            with self._at(path) as (fs, full):
                fs.pipe_file(full, data)
            return
        with _part_of(local) as part:
            part.write_bytes(data)

    @contextmanager
    def whole_file(self, path: str) -> Iterator[IO[bytes]]:
        """A file to write to that appears at ``path`` when the block ends, whole; after an exception it never does.

        A bucket gets it from a temporary file, in parts where it is large.
        """
        local = self.local_path(path)
        if local is None:
            with _disk_named(tempfile.gettempdir()), tempfile.NamedTemporaryFile(prefix="genrescale-") as spool:
                yield spool
                spool.flush()
                with self._at(path) as (fs, full):
                    fs.put_file(spool.name, full)
            return
        with _part_of(local) as part, part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def delete(self, path: str) -> None:
        with self._at(path) as (fs, full):
            fs.rm(full, recursive=True)


def _outage(error: FileNotFoundError) -> str:
    """Why a file cannot be looked for just now; "" where it is not there. fsspec calls every HTTP error the latter."""
    cause = error.__cause__
    if cause is None or not type(cause).__module__.startswith(_CLIENTS) or service_code(error):
        return ""  # not a client's, or an object store that answered: there is no such object
    status = getattr(cause, "status", 0)
    return "" if 400 <= status < 500 and not is_passing_status(status) else str(cause)


@contextmanager
def _part_of(local: Path) -> Iterator[Path]:
    """A path beside ``local`` to write to, which becomes it when the block ends well."""
    local.parent.mkdir(parents=True, exist_ok=True)
    part = local.with_name(f".{local.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with _disk_named(str(local), str(part)):
            yield part
            os.replace(part, local)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _disk_named(path: str, part: str = "") -> Iterator[None]:
    """Name ``path`` in the error of a full disk, which names nothing, and in errors of its ``part``."""
    try:
        yield
    except OSError as error:
        if error.filename not in ((part, None) if error.errno in DISK_FULL else (part,)):
            raise
        raise OSError(error.errno, error.strerror, path) from None


def _remedy(fs: Any) -> str:
    if "s3" not in fs.protocol:
        return "check the address and your rights"
    endpoint = public_address(os.environ.get("AWS_ENDPOINT_URL", "not set: Amazon's"))
    return f"check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL ({endpoint})"
