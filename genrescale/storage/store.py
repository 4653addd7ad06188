"""Object storage: the only module that distinguishes local folders, buckets and HTTP servers.

A Store is a root URI. It reads and writes paths relative to that root. Writes are atomic: a reader sees the old bytes
or the new ones, never half of them.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from genrescale.addresses import public_address
from genrescale.storage.errors import OutsideError, StoreError, TooLargeError
from genrescale.storage.http_reads import read_http
from genrescale.storage.local import disk_named, open_plain, part_of, read_part, unlink
from genrescale.storage.names import is_ours
from genrescale.storage.places import check_path, checked_uri, file_system, local_root
from genrescale.storage.range_file import range_file
from genrescale.storage.retry import CLIENTS, PATIENCE, Patience, is_passing, outage, service_code
from genrescale.storage.s3_ranges import read_s3_ranges
from genrescale.storage.versions import Version, age_s, read_version, write_if

MAX_BYTES = 4 << 30
"""The largest file that is read at once, unless the caller gives another limit."""
_PART_BYTES, _PARTS_AT_ONCE = 8 << 20, 8  # of a large file: 64 MB of memory
_AT_ONCE = 32  # requests
_S3, _HTTP = "s3://", ("http://", "https://")


@dataclass(frozen=True)
class Store:
    """Files under one root: a local folder (``/data/corpus``, ``file:///data/corpus``), a bucket or an HTTP server.

    Frozen and picklable, so that it can be sent to Ray tasks. The root is trusted, paths are not: every method raises
    OutsideError if a path leads out of the root (``genrescale.storage.places``). Reads have limits, and stop there
    whatever size the server states. Every method raises StoreError if a bucket cannot be reached or refuses the keys.
    ``patience`` is how long failing reads are repeated.
    """

    uri: str
    patience: Patience = PATIENCE

    def __post_init__(self) -> None:
        object.__setattr__(self, "uri", checked_uri(self.uri))

    def _fs(self) -> tuple[Any, str]:
        return file_system(self.uri)

    @contextmanager
    def _at(self, path: str, opened: bool = True) -> Iterator[tuple[Any, str]]:
        """Yield fsspec's file system and the full path; errors inside the block name the address and a remedy."""
        check_path(self.uri, path, opened)
        fs, root = self._fs()
        address = f"{self.uri}/{path}" if path else self.uri
        try:
            yield fs, f"{root}/{path}" if path else root
        except FileNotFoundError as error:
            if why := outage(error):
                raise StoreError(f"{address} cannot be read ({why}); {_remedy(fs)}") from None
            raise FileNotFoundError(f"{address} does not exist") from None
        except PermissionError as error:
            raise StoreError(f"{address}: access denied ({error}); {_remedy(fs)}") from None
        except Exception as error:
            is_clients = service_code(error) or type(error).__module__.startswith(CLIENTS)
            if not is_clients and not isinstance(error, TimeoutError):
                raise
            raise StoreError(
                f"{address} cannot be read or written ({str(error) or type(error).__name__}); {_remedy(fs)}"
            ) from None

    def child(self, path: str) -> Store:
        """Return the store whose root is the folder ``path`` of this one."""
        check_path(self.uri, path)
        return replace(self, uri=f"{self.uri.rstrip('/')}/{path}")

    def local_path(self, path: str = "") -> Path | None:
        """Return the path on this machine if the store is a local folder, else None."""
        check_path(self.uri, path)
        return None if (root := local_root(self.uri)) is None else Path(root, path)

    def ray_path(self) -> str:
        """Return the store as Ray takes it: a folder as it is, a bucket as a URL, in which signs are escaped."""
        if (folder := self.local_path()) is not None:
            return str(folder)
        scheme, _, rest = self.uri.partition("://")
        return f"{scheme}://{quote(rest)}"

    def exists(self, path: str = "") -> bool:
        """Return whether there is a file or a folder at ``path``."""
        with self._at(path) as (fs, full):
            return fs.exists(full)

    def size(self, path: str) -> int:
        """Return the size of a file in bytes, as the store states it; 0 if an HTTP server states none."""
        with self._at(path) as (fs, full):
            return int(fs.size(full) or 0)

    def list(self, prefix: str = "") -> list[str]:
        """Return the relative paths of all files under ``prefix``, sorted; none if there is no such folder."""
        return sorted(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the size in bytes of every file under ``prefix`` (or of the file ``prefix``) by relative path.

        Empty objects that stand for folders in a bucket are left out. Raises ValueError for HTTP, which has no reliable
        listing.
        """
        self._refuse_http()
        with self._at(prefix) as (fs, full):
            root = self._fs()[1]
            found = fs.find(full or "/", detail=True)
            files = {name: entry for name, entry in found.items() if not name.endswith("/") and name != root}
            return {os.path.relpath(name, root or "/"): int(entry["size"]) for name, entry in files.items()}

    def folders(self, prefix: str = "") -> list[str]:
        """Return the names of the folders directly under ``prefix``, sorted; none if there is no such folder."""
        return self._entries(prefix, "directory")

    def files(self, prefix: str = "") -> list[str]:
        """Return the names of the files directly under ``prefix``, sorted; none if there is no such folder."""
        return self._entries(prefix, "file")

    def _entries(self, prefix: str, kind: str) -> list[str]:
        self._refuse_http()
        with self._at(prefix) as (fs, full):
            try:
                entries = fs.ls(full, detail=True)
            except FileNotFoundError:
                return []
            found = [entry["name"] for entry in entries if entry["type"] == kind]
            # an empty object stands for the folder itself
            return sorted(os.path.basename(name.rstrip("/")) for name in found if name.rstrip("/") != full.rstrip("/"))

    def _refuse_http(self) -> None:
        if self.uri.startswith(_HTTP):
            raise ValueError(f"{self.uri} cannot be listed over HTTP; copy it to a folder or a bucket")

    def read_bytes(self, path: str, limit: int = MAX_BYTES) -> bytes:
        """Read a whole file.

        Raises FileNotFoundError if there is none, TooLargeError if it has more than ``limit`` bytes. At most one byte
        more than the limit is read. Both errors name the full address.
        """
        data = self.read_at_most(path, limit + 1)
        if len(data) > limit:
            raise TooLargeError(f"{self.uri}/{path} has more than {limit:,} bytes, the limit for such a file")
        return data

    def read_at_most(self, path: str, limit: int) -> bytes:
        """Read the first ``limit`` bytes of a file, or all of a shorter one; the stated size is not used."""
        if self.uri.startswith(_HTTP):
            with self._at(path) as (fs, full):
                return read_http(fs, full, limit)
        if (local := self.local_path(path)) is not None:
            with self._at(path):
                return read_part(local, 0, limit)
        parts, end, count = [], 0, 1  # a small file is one request
        while end < limit:
            starts = [end + i * _PART_BYTES for i in range(count) if end + i * _PART_BYTES < limit]
            found = self.read_ranges([(path, start, min(_PART_BYTES, limit - start)) for start in starts])
            parts += found
            if sum(map(len, found)) < min(len(starts) * _PART_BYTES, limit - end):
                break
            end, count = end + len(starts) * _PART_BYTES, _PARTS_AT_ONCE
        return b"".join(parts)

    def download(self, path: str, target: Path, retried: Callable[[BaseException], None] = lambda error: None) -> None:
        """Copy a file to ``target``, in parts that are fetched at the same time.

        ``retried`` is called with each error after which a part is read again. Raises the errors of ``read_ranges``,
        and StoreError if the file has another size than the store states.
        """
        size = self.size(path)
        parts = [(path, start, min(_PART_BYTES, size - start)) for start in range(0, size, _PART_BYTES)]
        with target.open("wb") as file:
            for i in range(0, len(parts), _PARTS_AT_ONCE):
                for data in self.read_ranges(parts[i : i + _PARTS_AT_ONCE], retried):
                    file.write(data)
            if file.tell() != size:
                raise StoreError(f"{self.uri}/{path} has {size} bytes, {file.tell()} came; try again")

    def opened(self, path: str) -> IO[bytes]:
        """Open a file to read parts of it. Raises FileNotFoundError, which names the full address, if there is none."""
        if (local := self.local_path(path)) is not None:
            with self._at(path):
                return open_plain(local)
        return range_file(partial(self.read_range, path), self.size(path))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Read ``length`` bytes from ``offset``, or fewer if the file ends before."""
        return bytes(self.read_ranges([(path, offset, length)])[0])

    def read_ranges(
        self, ranges: Sequence[tuple[str, int, int]], retried: Callable[[BaseException], None] = lambda error: None
    ) -> list[memoryview]:
        """Read several ranges (path, offset, length), at the same time if the store is not local.

        If the connection fails or the store is busy, a range is read again from its start, for as long as ``patience``
        allows; ``retried`` is called with each such error. Raises StoreError, which names the file, after that time.
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
        """Return the bytes or the error of each range; a range behind the end of its file is empty."""
        for path, offset, length in ranges:
            check_path(self.uri, path)
            if offset < 0 or length < 0:
                raise ValueError(f"{self.uri}/{path}: bytes {offset} to {offset + length} are no range of a file")
        if self.uri.startswith(_S3):
            bucket, _, root = self.uri.removeprefix(_S3).rstrip("/").partition("/")
            keys = [(f"{root}/{path}" if root else path, offset, length) for path, offset, length in ranges]
            with self._at(ranges[0][0]):
                found = read_s3_ranges(bucket, keys)
        elif local_root(self.uri) is not None:
            found = [self._try_range(*wanted) for wanted in ranges]
        else:
            with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(ranges)))) as pool:
                found = list(pool.map(lambda wanted: self._try_range(*wanted), ranges))
        for (path, _, length), data in zip(ranges, found, strict=True):
            if not isinstance(data, Exception) and len(data) > length:
                raise StoreError(f"{self.uri}/{path}: {length} bytes were requested, the server sent {len(data)}")
        return found

    def _try_range(self, path: str, offset: int, length: int) -> memoryview | Exception:
        fs, root = self._fs()
        full = f"{root}/{path}" if path else root
        try:
            if (local := local_root(self.uri)) is not None:
                return memoryview(read_part(Path(local, path), offset, length))
            if self.uri.startswith(_HTTP):
                return memoryview(read_http(fs, full, length, offset))
            return memoryview(fs.cat_file(full, offset, offset + length) if length else b"")
        except Exception as error:  # the caller reads again, or raises it
            return error

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a whole file, atomically."""
        check_path(self.uri, path, opened=False)
        if (root := local_root(self.uri)) is not None:
            with part_of(Path(root, path)) as part:
                part.write_bytes(data)
            return
        with self._at(path) as (fs, full):
            fs.pipe_file(full, data)

    @contextmanager
    def whole_file(self, path: str) -> Iterator[IO[bytes]]:
        """Yield a file to write to. It appears at ``path`` when the block ends, and not at all after an exception.

        For a bucket it is a temporary file that is uploaded at the end, in parts if it is large.
        """
        check_path(self.uri, path, opened=False)
        if (root := local_root(self.uri)) is None:
            with disk_named(tempfile.gettempdir()), tempfile.NamedTemporaryFile(prefix="genrescale-") as spool:
                yield spool
                spool.flush()
                with self._at(path) as (fs, full):
                    fs.put_file(spool.name, full)
            return
        with part_of(Path(root, path)) as part, part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def read_version(self, path: str, limit: int = MAX_BYTES) -> Version | None:
        """Return a file that ``write_if`` writes; None if there is none."""
        with self._at(path) as (fs, full):
            return read_version(fs, full, limit)

    def write_if(self, path: str, data: bytes, before: Version | None) -> bool:
        """Write a small file if it still is ``before`` (None: if there is none); return whether it was."""
        with self._at(path) as (fs, full):
            return write_if(fs, full, data, before)

    def age_s(self, path: str) -> float:
        """Return how many seconds ago a file was written, by the clock of the store."""
        with self._at(path) as (fs, full):
            return age_s(fs, full)

    def delete(self, *paths: str) -> None:
        """Delete files by their exact names; wildcards have no meaning.

        Raises OutsideError, and deletes nothing, if one of them has a name that genrescale does not give
        (``genrescale.storage.names``). Local folders that become empty are removed too, as in a bucket.
        """
        for path in paths:
            check_path(self.uri, path, opened=False)
            if not is_ours(path):
                raise OutsideError(f"{self.uri}/{path} is not deleted: genrescale does not write files of that name")
        if (root := local_root(self.uri)) is not None:
            for path in paths:
                with self._at(path, opened=False):
                    unlink(Path(root), path)
            return
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._delete_object, paths))

    def _delete_object(self, path: str) -> None:
        with self._at(path) as (fs, full):
            fs.rm_file(full)


def _remedy(fs: Any) -> str:
    if "s3" not in fs.protocol:
        return "check the address and your rights"
    endpoint = public_address(os.environ.get("AWS_ENDPOINT_URL", "not set: Amazon's"))
    return f"check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL ({endpoint})"
