"""Scan the members of a shard's tar in one pass, without its audio.

Shards are read from start to end in large ranges, and hashed on the way. So a bucket gets few requests for each shard,
and the SHA-256 is of exactly the bytes whose members were read.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, cast

from genrescale.storage.store import Store

_CHUNK_BYTES = 16 << 20
_TAR_BUFFER = 128 << 10


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class StoredSong:
    """A song in a shard: the content of its .json member (None if unreadable), and the byte range of its PCM."""

    key: str
    facts: dict[str, Any] | None
    offset: int
    num_bytes: int


@dataclass(frozen=True)
class ShardScan:
    """The result of one pass over a shard. ``songs`` ends where the tar becomes unreadable."""

    sha256: str
    songs: list[StoredSong]


class _HashedReader:
    """Reads a stored file from start to end and hashes it, for tarfile's stream mode."""

    def __init__(self, store: Store, path: str) -> None:
        self._store, self._path, self._size = store, path, store.size(path)
        self._chunk, self._place, self._next = b"", 0, 0
        self.sha256 = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        if self._place == len(self._chunk) and self._next < self._size:
            self._chunk = self._store.read_range(self._path, self._next, _CHUNK_BYTES)
            self._place, self._next = 0, self._next + _CHUNK_BYTES
            self.sha256.update(self._chunk)
        data = self._chunk[self._place : self._place + size]
        self._place += len(data)
        return data


def read_members(file: _Readable, base: int = 0) -> list[StoredSong]:
    """Read the songs of a tar, or of a part that starts at a member, ``base`` bytes from the start of the tar.

    If the tar is truncated or corrupt, the songs before the damage are returned.
    """
    songs, facts = [], {}
    try:
        with tarfile.open(fileobj=cast(BinaryIO, file), mode="r|", bufsize=_TAR_BUFFER) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                if kind == "pcm":
                    songs.append(StoredSong(key, facts.pop(key, None), base + member.offset_data, member.size))
                elif kind == "json" and (data := tar.extractfile(member)):
                    facts[key] = _parsed(data.read())
    except tarfile.TarError:
        pass
    return songs


def _parsed(data: bytes) -> dict[str, Any] | None:
    try:
        facts = json.loads(data)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None


def scan_shard(store: Store, path: str) -> ShardScan:
    """Scan a shard. Raises FileNotFoundError if it does not exist."""
    file = _HashedReader(store, path)
    songs = read_members(file)
    while file.read(_CHUNK_BYTES):  # the SHA-256 includes the bytes that tarfile did not read
        pass
    return ShardScan(file.sha256.hexdigest(), songs)
