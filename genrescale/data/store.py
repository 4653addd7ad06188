"""Object storage: the only place that knows whether bytes lie in a local folder or in a bucket.

A Store is a root URI and reads and writes paths relative to it. Writes are whole: a reader sees the old bytes or
the new ones, never half of them.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec


@dataclass(frozen=True)
class Store:
    """Files under one root: a local folder (``/data/corpus``, ``file:///data/corpus``) or any fsspec URI.

    Frozen and picklable, so it travels to Ray tasks.
    """

    uri: str

    def __post_init__(self) -> None:
        if not self.uri:
            raise ValueError("a store needs a folder or URI, e.g. corpus=/data/fma")
        if "://" not in self.uri:
            # Ray's processes run in other folders, where a relative path would name another place.
            object.__setattr__(self, "uri", os.path.abspath(os.path.expanduser(self.uri)))

    def _fs(self) -> tuple[Any, str]:
        # Any: fsspec's own annotations promise str or bytes, and sizes that may be None
        fs, root = fsspec.core.url_to_fs(self.uri)
        return fs, root.rstrip("/")

    def _full(self, path: str) -> tuple[Any, str]:
        fs, root = self._fs()
        return fs, f"{root}/{path}" if path else root

    def child(self, path: str) -> Store:
        return Store(f"{self.uri.rstrip('/')}/{path}")

    def local_path(self, path: str = "") -> Path | None:
        """The file's path where the store is a local folder, else None."""
        fs, full = self._full(path)
        return Path(full) if "file" in fs.protocol else None

    def exists(self, path: str = "") -> bool:
        fs, full = self._full(path)
        return fs.exists(full)

    def size(self, path: str) -> int:
        fs, full = self._full(path)
        return int(fs.size(full))

    def list(self, prefix: str = "") -> list[str]:
        """Relative paths of all files under ``prefix``, sorted; an absent prefix has none."""
        fs, root = self._fs()
        if not fs.exists(f"{root}/{prefix}"):
            return []
        return sorted(os.path.relpath(found, root) for found in fs.find(f"{root}/{prefix}"))

    def read_bytes(self, path: str) -> bytes:
        """Raises FileNotFoundError that names the full address."""
        fs, full = self._full(path)
        try:
            return fs.cat_file(full)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.uri}/{path} does not exist") from None

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer where the file ends before."""
        fs, full = self._full(path)
        try:
            return fs.cat_file(full, start=offset, end=offset + length)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.uri}/{path} does not exist") from None

    def write_bytes(self, path: str, data: bytes) -> None:
        local = self.local_path(path)
        if local is None:
            fs, full = self._full(path)
            fs.pipe_file(full, data)
            return
        local.parent.mkdir(parents=True, exist_ok=True)
        part = local.with_name(f".{local.name}.{uuid.uuid4().hex[:8]}.part")
        part.write_bytes(data)
        os.replace(part, local)

    def delete(self, path: str) -> None:
        fs, full = self._full(path)
        fs.rm(full, recursive=True)
