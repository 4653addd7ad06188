"""Scan the members of a shard's tar in one pass, without its audio.

Shards are read from start to end in large ranges and hashed on the way, so that a bucket is asked a few times for each
shard and the bytes whose members are looked at are the bytes whose SHA-256 is compared.

Only plain files are read, and their names: a tar of 1.5 kB with a sparse file becomes 4 GB, and links, devices and long
headers have no place in a shard.
"""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, cast

from genrescale.storage.json_bytes import read_object
from genrescale.storage.store import Store

_CHUNK_BYTES = 16 << 20
_TAR_BUFFER = 128 << 10
_MAX_FACTS = 1 << 20  # bytes of a .json member, which names every tag
_MAX_NAME = 4 << 10  # bytes of a member's name, which a header of its own holds where it is long
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class StoredSong:
    """A song in a shard: the content of its .json member (None if unreadable), and the byte range of its PCM."""

    key: str
    json: bytes
    offset: int
    num_bytes: int

    @property
    def facts(self) -> dict[str, Any] | None:
        """What the .json member says; None where it cannot be read."""
        try:
            return read_object(self.json, "", _MAX_FACTS)
        except ValueError:
            return None


@dataclass(frozen=True)
class ShardScan:
    """The result of one pass over a shard. ``songs`` ends where the tar becomes unreadable."""

    sha256: str
    songs: list[StoredSong]
    refused: str


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


class _RefusedMemberError(Exception):
    pass


class _PlainMember(tarfile.TarInfo):
    """The header of a member, refused before anything of it is read where it is not of a plain file."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> tarfile.TarInfo:
        member = super().frombuf(buf, cast(str, encoding), errors)  # None is allowed, typeshed does not know it
        is_name = member.type == tarfile.GNUTYPE_LONGNAME and member.size <= _MAX_NAME
        if member.size < 0 or not (is_name or member.type in _PLAIN):
            kind = _KINDS.get(member.type, "file of another kind")
            raise _RefusedMemberError(f"it holds {member.name[:100]!r}, a {kind}, where a shard has plain files only")
        return member


_KINDS = {
    tarfile.GNUTYPE_SPARSE: "sparse file",
    tarfile.LNKTYPE: "link",
    tarfile.SYMTYPE: "symbolic link",
    **dict.fromkeys((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE), "device"),
    **dict.fromkeys((tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE), "header that may stand for anything"),
}


def read_members(file: _Readable, base: int = 0) -> tuple[list[StoredSong], str]:
    """The songs of a tar, or of a part of one that starts at a member, ``base`` bytes from the start of the tar.

    A tar that is cut off or garbled gives the songs before the damage; so does one with a member that is no plain file,
    and the second value says so (else "").
    """
    songs, facts, refused = [], {}, ""
    try:
        with tarfile.open(fileobj=cast(BinaryIO, file), mode="r|", bufsize=_TAR_BUFFER, tarinfo=_PlainMember) as tar:
            for member in tar:
                key, _, kind = member.name.partition(".")
                if kind == "pcm":
                    songs.append(StoredSong(key, facts.pop(key, b""), base + member.offset_data, member.size))
                elif kind == "json" and (data := tar.extractfile(member)):
                    facts[key] = data.read(_MAX_FACTS + 1)
    except _RefusedMemberError as error:
        refused = str(error)
    except tarfile.TarError:
        pass
    return songs, refused


def scan_shard(store: Store, path: str) -> ShardScan:
    """Scan a shard. Raises FileNotFoundError if it does not exist."""
    file = _HashedReader(store, path)
    songs, refused = read_members(file)
    while file.read(_CHUNK_BYTES):  # what tarfile did not ask for is part of the SHA-256 too
        pass
    return ShardScan(file.sha256.hexdigest(), songs, refused)
