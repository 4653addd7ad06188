"""What samples tell about themselves: a header may call something samples that is none.

Discs and receivers put AC-3, DTS and other bitstreams where samples should be, in WAV, FLAC or any other lossless file
(IEC 61937; SMPTE 337 for Dolby E; DSD in "DoP"), and tools wrap MP3 or AAC frames in a WAV header. Played as samples,
all of these are noise. ``found_in`` names them.

Shapes: T frames, C channels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

_SYNC_WORDS = {
    "an AC-3, DTS or other bitstream (IEC 61937)": [(0xF872, 0x4E1F)],
    "a Dolby E bitstream (SMPTE 337)": [(0x6F87, 0x54E1), (0x6F87, 0x54E2), (0x96F8, 0xA54E)],
    "a DTS bitstream": [(0x6458, 0x2025), (0x7FFE, 0x8001, 0xFC00, 0xFC00), (0x1FFF, 0xE800, 0xFFF0, 0x07F0)],
    "a TrueHD bitstream": [(0xF872, 0x6FBA), (0xF872, 0x6FBB)],
}
"""The first two words of each frame; for some the mask and the value of a third, as music may hold the first two."""
_MIN_SYNCS = 3
"""By chance, two words of 16 bits occur three times in a block of a second or so with a probability of 1e-12."""
_MAGIC = {b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"wvpk": "WavPack", b"0&\xb2u\x8ef\xcf\x11": "WMA"}
_CHAIN, _WINDOW = 5, 1 << 15
"""Frames of MP3, AAC or AC-3 that have to follow each other, and the bytes among which they are looked for."""
_BIT_RATES = {  # kbit/s of an MPEG frame, by whether it is of MPEG-1, and by its layer
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_AC3_RATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_MIN_SHARE, _MIN_FRAMES = 0.99, 1000
_MIN_EXPONENTS = 9
"""Exponents among the floating-point numbers of a second of sound; a square wave of whole numbers has but a few."""
CANCELLED, CANCELS = 0.2, "its channels cancel each other (one is inverted)"
"""A song whose mix keeps less of its channels' level gets this note, and is refused where nothing is left."""
QUIET = 1 << 21
"""An int32 sample of -60 dBFS: what is quieter comes before the start of a bitstream."""


def disguise(content: str) -> str:
    """The reason to refuse a file whose samples are ``content`` instead."""
    return f"its header promises samples, but what it holds is {content}"


def found_in(samples_TC: np.ndarray, width: int) -> str:
    """Name what a second or so of samples is instead, or "".

    ``samples_TC`` are int32 whose upper ``width`` bytes count, as libsndfile gives samples of any width.
    """
    if len(samples_TC) < _MIN_FRAMES:
        return ""
    words_TC = (samples_TC >> 16).astype("<i2")
    for words in (words_TC, words_TC.byteswap()):
        if name := _synchronised(words.view("<u2").ravel()):
            return name
    first_TC = samples_TC[: _WINDOW // width // samples_TC.shape[1]].astype("<i4")
    little = first_TC.view(np.uint8).reshape(-1, 4)[:, 4 - width :]
    for data in (little.tobytes(), little[:, ::-1].tobytes(), (little ^ 0x80).tobytes() if width == 1 else b""):
        if name := _wrapped(data):
            return name
    if width >= 3 and _is_dop((samples_TC[:, 0] >> 24).astype(np.int8).view(np.uint8)):
        return "DSD (DoP)"
    if width == 4 and _are_floats(samples_TC):
        return "samples of 32-bit floating point, not whole numbers"
    if width == 2 and _are_swapped(words_TC):
        return "samples in the other byte order"
    return ""


def _synchronised(words: np.ndarray) -> str:
    """The bitstream whose sync words stand among samples."""
    for name, starts in _SYNC_WORDS.items():
        for first, second, *third in starts:
            at = np.flatnonzero((words[:-2] == first) & (words[1:-1] == second))
            if third:
                mask, value = third
                at = at[(words[at + 2] & mask) == value]
            if len(at) >= _MIN_SYNCS:
                return name
    return ""


def _wrapped(data: bytes) -> str:
    """The encoded file that begins, or whose frames follow each other, in the bytes of samples."""
    for magic, name in _MAGIC.items():
        if data.startswith(magic):
            return f"an encoded file ({name})"
    if data[4:8] == b"ftyp":
        return "an encoded file (MP4)"
    for name, (start, length_of) in _FRAMES.items():
        if any(_chained(data, at.start(), length_of) for at in start.finditer(data)):
            return f"{name} frames"
    return ""


def _chained(data: bytes, at: int, length_of: Callable[[bytes], tuple[int, tuple[int, ...]]]) -> bool:
    """Whether frames of one kind, which are not all the same (a tone's periods are), follow each other."""
    kinds, frames = set(), set()
    for _ in range(_CHAIN):
        length, kind = length_of(data[at : at + 7])
        if not length or at + length > len(data):
            return False
        kinds.add(kind)
        frames.add(data[at : at + length])
        at += length
    return len(kinds) == 1 and len(frames) > 1


def mpeg_frame(head: bytes) -> tuple[int, tuple[int, ...]]:
    """The length of a frame of MP1, MP2 or MP3, 0 if it is none, and what all frames of a file share."""
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return 0, ()
    version, layer, rate, padding = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate == 3 or not 0 < head[2] >> 4 < 15:
        return 0, ()
    is_first = version == 3
    bits = 1000 * _BIT_RATES[is_first, layer][(head[2] >> 4) - 1]
    hertz = (44_100, 48_000, 32_000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    kind = (version, layer, rate)
    if layer == 1:
        return (12 * bits // hertz + padding) * 4, kind
    return (144 if is_first or layer == 2 else 72) * bits // hertz + padding, kind


def mpeg_frame_seconds(kind: tuple[int, ...]) -> float:
    """How long a frame of a kind, as ``mpeg_frame`` gives it, lasts."""
    version, layer, rate = kind
    samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    return samples / ((44_100, 48_000, 32_000)[rate] // {3: 1, 2: 2, 0: 4}[version])


def _aac_frame(head: bytes) -> tuple[int, tuple[int, ...]]:
    """The same of a frame of AAC in ADTS."""
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0, ()
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length if length > 7 else 0, (head[1], head[2] >> 2)


def _ac3_frame(head: bytes) -> tuple[int, tuple[int, ...]]:
    """The same of a frame of AC-3 or E-AC-3."""
    if len(head) < 6 or head[:2] != b"\x0b\x77" or not 0 < (version := head[5] >> 3) <= 16:
        return 0, ()
    if version > 10:
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1), (version,)
    rate, code = head[4] >> 6, head[4] & 63
    if rate == 3 or code >= 2 * len(_AC3_RATES):
        return 0, ()
    bits = _AC3_RATES[code >> 1]
    words = (2 * bits, bits * 96_000 // 44_100 + (code & 1), 3 * bits)[rate]
    return 2 * words, (version, rate)


_FRAMES = {
    "MPEG (MP3)": (re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xeb]"), mpeg_frame),
    "AAC": (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), _aac_frame),
    "AC-3": (re.compile(rb"\x0b\x77"), _ac3_frame),
}


def _is_dop(markers_T: np.ndarray) -> bool:
    """Whether the top bytes of one channel are the markers of DSD over PCM, one after the other."""
    pairs_T = markers_T[:-1].astype(int) << 8 | markers_T[1:]
    return len(pairs_T) > 0 and float(np.isin(pairs_T, (0x05FA, 0xFA05)).mean()) >= _MIN_SHARE


def _are_floats(samples_TC: np.ndarray) -> bool:
    """Whether whole numbers of 32 bits are floating-point numbers of an audible level, which music's are not."""
    values = np.abs(samples_TC[samples_TC != 0].astype("<i4").view("<f4"))
    is_level = (values > 2.0**-64) & (values < 4.0)  # as whole numbers beyond a quarter of full scale, all of them
    if len(values) * 10 <= samples_TC.size or float(is_level.mean()) < _MIN_SHARE:
        return False
    exponents = (values[is_level].view("<u4") >> 23).astype(np.int64)
    # not np.unique: it imports a module, which the confined process may not
    return int(np.count_nonzero(np.bincount(exponents))) >= _MIN_EXPONENTS


def _are_swapped(words_TC: np.ndarray) -> bool:
    """Whether samples are noise as they are, and smooth with their bytes swapped."""
    return _roughness(words_TC) > 1.0 and _roughness(words_TC.byteswap()) < 0.35


def _roughness(words_TC: np.ndarray) -> float:
    """The mean step between samples relative to their mean level: 1.4 for white noise, nearly 0 for a low tone."""
    wave_TC = words_TC[:_WINDOW].astype(np.float32)
    level = float(np.abs(wave_TC - wave_TC.mean(axis=0)).mean())
    return float(np.abs(np.diff(wave_TC, axis=0)).mean()) / level if level else 0.0


def loud_part(blocks_TC: Iterator[np.ndarray]) -> np.ndarray:
    """The first of some blocks of int32 that is not QUIET, from there on and with the block that follows."""
    for block_TC in blocks_TC:
        loud_T = np.flatnonzero(((block_TC > QUIET) | (block_TC < -QUIET)).any(axis=1))
        if len(loud_T):
            return np.concatenate([block_TC[loud_T[0] :], next(blocks_TC, block_TC[:0])])
    return np.zeros((0, 1), np.int32)
