"""A size-limited cache of whole shards of a bucket, on the disk of each node that reads them. No Ray.

One folder serves every process of a node: who needs a shard first fetches it, the others wait for it. Its audio is
checked by its checksums like any other, at every read. The shards are kept in a subfolder, and only files with the
names of this cache are deleted there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from genrescale.storage.errors import StoreError
from genrescale.storage.store import Store

FOLDER = "genrescale-shards"
_KEPT = re.compile(r".+-[0-9a-f]{16}\.tar")
Retried = Callable[[BaseException], None]


@dataclass(frozen=True)
class ShardCache:
    """At most ``limit_bytes`` of shards in FOLDER below ``folder``; what was used longest ago goes first.

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
        _private_folder(kept.parent)
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
        return Path(self.folder, FOLDER, f"{Path(path).stem}-{hashlib.sha256(address.encode()).hexdigest()[:16]}.tar")

    def _make_room(self, num_bytes: int) -> None:
        """Delete the least recently used shards until ``num_bytes`` more fit."""
        with _locked(Path(self.folder, FOLDER, "room.lock")):
            kept = []
            for file in Path(self.folder, FOLDER).iterdir():
                if not _KEPT.fullmatch(file.name):
                    continue
                with suppress(FileNotFoundError):  # dropped by another process
                    facts = file.stat(follow_symlinks=False)
                    kept.append((facts.st_mtime_ns, facts.st_size, file))
            room = self.limit_bytes - num_bytes - sum(size for _, size, _ in kept)
            for _, size, file in sorted(kept):
                if room >= 0:
                    return
                file.unlink(missing_ok=True)
                room += size


def _private_folder(folder: Path) -> None:
    """Make the folder. Raises StoreError if it is a link, or belongs to another user, who could swap the shards."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    facts = folder.stat(follow_symlinks=False)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise StoreError(f"{folder} is not a folder of this user; give another site.shard_cache")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock among the processes of this node; it is released if the process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
