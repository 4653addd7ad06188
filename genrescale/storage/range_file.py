"""A remote file that is fetched by ranges while it is read."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import IO, Any, cast

BUFFER_BYTES = 1 << 20


def range_file(read: Callable[[int, int], bytes], size: int) -> IO[bytes]:
    """Return a file of ``size`` bytes whose ranges ``read(offset, length)`` fetches."""
    return cast(IO[bytes], io.BufferedReader(_Ranges(read, size), BUFFER_BYTES))


class _Ranges(io.RawIOBase):
    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size, self._place = read, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence])
        return self._place

    def readinto(self, buffer: Any) -> int:
        data = self._read(self._place, min(len(buffer), max(0, self._size - self._place)))
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
