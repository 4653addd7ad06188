"""Files of a local store: opened only if they are plain files, written atomically, deleted by name."""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from genrescale.storage.errors import DISK_FULL, OutsideError


def open_plain(path: Path) -> IO[bytes]:
    """Open a file to read. Raises OutsideError, without waiting, if it is a pipe, a device or a socket."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder, where a file is needed")
    raise OutsideError(f"{path} is not a plain file but a pipe, a device or a socket")


def read_part(path: Path, offset: int, length: int) -> bytes:
    """Read at most ``length`` bytes from ``offset``. Allocates no more than the file has."""
    with open_plain(path) as file:
        left = max(0, min(length, os.fstat(file.fileno()).st_size - offset))
        parts = []
        while left and (data := os.pread(file.fileno(), left, offset)):  # one call reads at most 2 GB
            parts.append(data)
            offset, left = offset + len(data), left - len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@contextmanager
def part_of(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to, which is renamed to it if the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with disk_named(str(path), str(part)):
            yield part
            os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def disk_named(path: str, part: str = "") -> Iterator[None]:
    """Put ``path`` into the error of a full disk, which names no file, and into errors of its ``part``."""
    try:
        yield
    except OSError as error:
        if error.filename not in ((part, None) if error.errno in DISK_FULL else (part,)):
            raise
        raise OSError(error.errno, error.strerror, path) from None


def unlink(root: Path, path: str) -> None:
    """Delete the file ``path`` of a store, and then the folders below ``root`` that became empty."""
    (root / path).unlink()
    for folder in Path(path).parents[:-1]:
        with suppress(OSError):  # it is not empty
            (root / folder).rmdir()
