"""The lengths of songs as their headers tell them, before anything is decoded.

They are those of WAV, AIFF and FLAC files and of small MP3 and Ogg files on this machine. A song counts as short only
where no decoder could find more: by the numbers of samples that decide what is decoded, or by all frames of a small
file. Headers are read here, byte by byte, and not by a decoder: what a stranger's file holds must not reach one outside
of its process.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from genrescale.audio import SAMPLE_RATE, Song
from genrescale.data.decoding.content import mpeg_frame, mpeg_frame_seconds
from genrescale.data.decoding.decode import too_short

_MOST = 20_000
"""Songs that are asked, evenly over the corpus: a few seconds on a local disk."""
_READERS = 16
_HEAD = 1 << 12
_SMALL = 1 << 16
"""Bytes of an MP3 or Ogg file that is read whole, as nothing less tells its length: the bit rates of frames may differ,
and streams may lie behind each other."""
_UNKNOWN = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000)  # numbers of a header that was written to a pipe


@dataclass(frozen=True, eq=False)
class Census:
    """The songs whose headers tell a length, and their lengths in seconds."""

    songs: Sequence[Song]
    seconds_N: np.ndarray

    def short(self, min_s: float) -> dict[str, str]:
        """Return key -> reason of the songs that will be quarantined as shorter than ``min_s``."""
        lengths = zip(self.songs, self.seconds_N.tolist(), strict=True)
        return {song.key: too_short(seconds, min_s) for song, seconds in lengths if seconds < min_s}

    def sentence(self, min_s: float) -> str:
        """Say how many songs are shorter than ``min_s``; "" if none is."""
        if not (count := int((self.seconds_N < min_s).sum())):
            return ""
        low, middle, high = np.quantile(self.seconds_N, (0.0, 0.5, 1.0)).tolist()
        return (
            f"{count:,} of {len(self.songs):,} songs whose headers tell a length are shorter than min_s={min_s:g} and "
            f"go to quarantine; lengths are {low:.2f} to {high:.2f} s, the median is {middle:.2f} s"
        )


def take_census(songs: Sequence[Song]) -> Census:
    """Read the headers of at most _MOST songs."""
    local = [song for song in songs if "://" not in song.path]
    asked = local[:: max(1, math.ceil(len(local) / _MOST))]
    with ThreadPoolExecutor(_READERS) as pool:
        told = list(pool.map(told_seconds, [Path(song.path) for song in asked]))
    known = [(song, seconds) for song, seconds in zip(asked, told, strict=True) if seconds]
    seconds_N = np.array([seconds for _, seconds in known], np.float64)
    # a decoder may round up to a whole sample
    return Census([song for song, _ in known], np.ceil(seconds_N * SAMPLE_RATE) / SAMPLE_RATE)


def told_seconds(path: Path) -> float:
    """Return the length that the header of a file tells, 0 if it tells none that is to be believed."""
    with suppress(OSError, struct.error, ValueError, ZeroDivisionError):
        if not path.is_file():  # opening a pipe would wait for ever
            return 0.0
        with path.open("rb") as file:
            head, size = file.read(_HEAD), path.stat().st_size
            if head[:3] == b"ID3" or head[:1] == b"\xff":
                return _mpeg_seconds(file, head, size)
            if head[:4] == b"OggS":
                return _ogg_seconds(file, head, size)
        if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
            return _wav_seconds(head, size)
        if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            return _aiff_seconds(head)
        if head[:4] == b"fLaC":
            packed = int.from_bytes(head[18:26])
            return (packed & (1 << 36) - 1) / (packed >> 44)
    return 0.0


def _chunks(head: bytes, order: str) -> dict[bytes, tuple[int, int]]:
    """The place and size of each chunk that begins in the head of a RIFF or IFF file."""
    found, at = {}, 12
    while at + 8 <= len(head):
        name, size = struct.unpack_from(f"{order}4sI", head, at)
        found.setdefault(name, (at + 8, size))
        at += 8 + size + size % 2
    return found


def _wav_seconds(head: bytes, file_bytes: int) -> float:
    chunks = _chunks(head, "<")
    tag, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", head, chunks.get(b"fmt ", (len(head), 0))[0])
    place, size = chunks.get(b"data", (0, 0))
    is_plain = tag in (1, 3, 0xFFFE) and bits and align == channels * bits // 8
    if not is_plain or size in _UNKNOWN or place + size > file_bytes:
        return 0.0  # its data are of a codec, or it was cut short
    return size / align / rate


def _mpeg_seconds(file: BinaryIO, head: bytes, size: int) -> float:
    start = 10 + sum((byte & 0x7F) << 7 * i for i, byte in enumerate(reversed(head[6:10]))) if head[:3] == b"ID3" else 0
    if size - start > _SMALL:
        return 0.0
    file.seek(start)
    data, at, frames = file.read(_SMALL), 0, 0
    length, kind = mpeg_frame(data[:4])
    if not length:
        return 0.0
    while length:
        at, frames = at + length, frames + 1
        length, other = mpeg_frame(data[at : at + 4])
        if length and other != kind:
            return 0.0
    is_end = at >= len(data) or data[at : at + 3] in (b"TAG", b"APE")
    return frames * mpeg_frame_seconds(kind) if is_end else 0.0


def _ogg_seconds(file: BinaryIO, head: bytes, size: int) -> float:
    if size > _SMALL:
        return 0.0
    file.seek(0)
    data = file.read(_SMALL)
    last = data.rfind(b"OggS")
    granule = int.from_bytes(data[last + 6 : last + 14], "little", signed=True)
    if data.count(b"OggS\0\2") != 1 or data[last + 14 : last + 18] != head[14:18] or granule <= 0:
        return 0.0  # several streams, or a last page that ends no frame
    if (place := head.find(b"\x01vorbis")) > 0:
        return granule / int.from_bytes(head[place + 12 : place + 16], "little")
    if (place := head.find(b"OpusHead")) > 0:
        return max(0, granule - int.from_bytes(head[place + 10 : place + 12], "little")) / 48_000
    return 0.0


def _aiff_seconds(head: bytes) -> float:
    place, _ = _chunks(head, ">").get(b"COMM", (len(head), 0))
    _, frames, _, exponent, mantissa = struct.unpack_from(">hIhHQ", head, place)
    return frames / (mantissa * 2.0 ** (exponent - 16383 - 63)) if frames not in _UNKNOWN else 0.0
