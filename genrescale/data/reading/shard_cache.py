"""A size-limited cache of whole shards of a bucket, on the disk of each node that reads them. No Ray.

All processes of a node share one folder: the first that needs a shard fetches it, the others wait. Cached audio is
verified by its checksums at every read, like any other.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from genrescale.storage.errors import StoreError
from genrescale.storage.store import Store

Retried = Callable[[BaseException], None]


@dataclass(frozen=True)
class ShardCache:
    """A folder that holds at most ``limit_bytes`` of shards; the least recently used are deleted first.

    A shard that is being downloaded is in addition to the limit.
    """

    folder: str
    limit_bytes: int

    def read(self, store: Store, path: str, offset: int, length: int, retried: Retried = lambda error: None) -> bytes:
        """Read ``length`` bytes at ``offset`` of a shard, fewer at its end; fetch the shard first if it is not cached.

        Raises what fetching raises, and StoreError, naming the folder, if the disk is full.
        """
        while True:
            try:
                descriptor = os.open(self._kept(store, path), os.O_RDONLY)
            except FileNotFoundError:  # not fetched yet, or another process deleted it to make room
                self.fetch(store, path, retried)
                continue
            try:
                os.utime(descriptor)  # marks it as used now
                return os.pread(descriptor, length, offset)
            finally:
                os.close(descriptor)

    def fetch(self, store: Store, path: str, retried: Retried = lambda error: None) -> None:
        """Download the shard unless it is cached. ``retried`` is called with each error that was retried."""
        kept = self._kept(store, path)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with _locked(kept.with_suffix(".lock")):
            if kept.exists():
                return
            part = kept.with_suffix(".part")
            try:
                store.download(path, part, retried)
                self._make_room(part.stat().st_size)
                part.rename(kept)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                raise StoreError(
                    f"the disk of {self.folder} became full while fetching {store.uri}/{path}; "
                    "use a smaller site.shard_cache_gb, or another site.shard_cache"
                ) from None
            finally:
                part.unlink(missing_ok=True)

    def has(self, store: Store, path: str) -> bool:
        return self._kept(store, path).exists()

    def drop(self, store: Store, path: str) -> None:
        """Delete a shard from the cache, so that it is fetched again."""
        self._kept(store, path).unlink(missing_ok=True)

    def _kept(self, store: Store, path: str) -> Path:
        address = f"{store.uri.rstrip('/')}/{path}"
        return Path(self.folder, f"{Path(path).stem}-{hashlib.sha256(address.encode()).hexdigest()[:16]}.tar")

    def _make_room(self, num_bytes: int) -> None:
        """Delete the least recently used shards until ``num_bytes`` more fit."""
        with _locked(Path(self.folder, "room.lock")):
            kept = []
            for file in Path(self.folder).glob("*.tar"):
                with suppress(FileNotFoundError):  # deleted by another process
                    stat = file.stat()
                    kept.append((stat.st_mtime_ns, stat.st_size, file))
            room = self.limit_bytes - num_bytes - sum(size for _, size, _ in kept)
            for _, size, file in sorted(kept):
                if room >= 0:
                    return
                file.unlink(missing_ok=True)
                room += size


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock among the processes of this node; it is released if the process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
