"""The length of a song as its file's header tells it.

Headers of WAV, AIFF, FLAC and MP4 (M4A) files tell it, MP3 files with a Xing or Info tag, Ogg files by their last page,
and small MP3 files by all their frames. A length counts only where a decoder finds no more, as far as an honest file
tells: by the numbers of samples that decide what is decoded, and by tags that fit the file's size. Headers are read
here, byte by byte, and not by a decoder: what a stranger's file holds must not reach one outside of its process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from genrescale.data.decoding.content import mpeg_frame, mpeg_frame_seconds

_HEAD = 1 << 12
_SMALL = 1 << 16
"""Bytes of an MP3 file without a tag that is read whole, because the bit rates of its frames may differ; and of the end
of a longer Ogg file, which holds its last page."""
_UNKNOWN = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000)  # numbers of a header that was written to a pipe
_TAG_PLACE, _ID3V1 = 64, 128
_MOST_BOXES, _MOST_HEADER = 1000, 1 << 26


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
            if head[4:8] == b"ftyp":
                return _mp4_seconds(file, size)
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
    file.seek(start)
    if size - start > _SMALL:
        return _xing_seconds(file.read(_HEAD), size - start)
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
    file.seek(max(0, size - _SMALL))
    data = file.read(_SMALL)
    if size > _SMALL:
        data = head + data  # a stream that begins and ends between them would hold the rest of a long file
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


def _xing_seconds(head: bytes, size: int) -> float:
    """The length that the first frame of a long MP3 tells, where it was written for exactly these ``size`` bytes."""
    _, kind = mpeg_frame(head[:4])
    place = max(head.find(b"Xing", 0, _TAG_PLACE), head.find(b"Info", 0, _TAG_PLACE))
    if not kind or place < 0:
        return 0.0
    flags, frames, stated = struct.unpack_from(">III", head, place + 4)
    is_whole = flags & 3 == 3 and frames not in _UNKNOWN and 0 <= size - stated <= _ID3V1
    return (frames + 1) * mpeg_frame_seconds(kind) if is_whole else 0.0  # some decoders play the first frame, too


def _mp4_seconds(file: BinaryIO, size: int) -> float:
    """The length of the longest track of an MP4 or M4A file."""
    for name, at, end in _boxes(file, 0, size):
        if name == b"moof":
            return 0.0  # parts of which the header knows nothing
        if name == b"moov":
            if end - at > _MOST_HEADER:
                return 0.0
            parts = list(_boxes(file, at, end))
            if any(kind == b"mvex" for kind, *_ in parts):
                return 0.0  # parts may follow
            lengths = [_track_seconds(file, *track) for kind, *track in parts if kind == b"trak"]
            return max(lengths, default=0.0) if all(lengths) else 0.0
    return 0.0


def _track_seconds(file: BinaryIO, at: int, end: int) -> float:
    for _, media, media_end in (box for box in _boxes(file, at, end) if box[0] == b"mdia"):
        for _, place, _ in (box for box in _boxes(file, media, media_end) if box[0] == b"mdhd"):
            file.seek(place)
            version = file.read(4)[0]
            layout = ">QQIQ" if version else ">IIII"
            _, _, rate, length = struct.unpack(layout, file.read(struct.calcsize(layout)))
            return length / rate if length not in _UNKNOWN else 0.0
    return 0.0


def _boxes(file: BinaryIO, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name of each box of an MP4 file between two places, and where its content begins and ends."""
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8))
        start = at + 8
        if length == 1:
            [length], start = struct.unpack(">Q", file.read(8)), at + 16
        stop = end if length == 0 else at + length
        if stop < start or stop > end:
            raise ValueError("a box that leads out of the one around it")
        yield name, start, stop
        at = stop
    raise ValueError("more boxes than a song has")
