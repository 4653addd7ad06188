"""Encoded bytes to PCM: any song becomes mono 16 kHz int16, or a DecodeError that names it and says why.

libsndfile decodes what it can be relied on for, ffmpeg the rest (``decoders.py``), each in a process of its own for
every song, because a song may come from a stranger (``isolated.py``). Start, length, level and content are those of a
plain ``ffmpeg -i SONG -ac 1 -ar 16000``: within 1 sample, 0.01 dB, and 1e-4 of the energy. The decoders get an opened
file without a name, so the same song gives the same samples wherever it is stored.

==================================================  ================================================================
What a file is                                      What becomes of it
==================================================  ================================================================
MP3, AAC, M4A, FLAC, Ogg, Opus, WAV, AU, AIFF,      decoded, whatever its name ends in, at any rate from MIN_RATE to
WMA, ... (AUDIO_FORMATS); first stream              MAX_RATE and with any channels (their mean, ffmpeg's mix from 3)
tags and pictures of any size                       passed over
MP3 without a Xing header, or with a false one      decoded whole, by ffmpeg
truncated, or damaged in the middle                 what ffmpeg finds in it is kept
header promises more samples than there are         what is there is kept
header promises fewer (WAV, AU, AIFF, FLAC)         the header's number is kept: what follows is not music
header promises none (written to a pipe)            decoded whole, by ffmpeg
samples that are an AC-3, DTS or other bitstream    decoded where ffmpeg knows it (in WAV), else refused by its name
samples in another form than the header says        refused: what they are, where that can be told
several Ogg or MP3 streams behind each other        all of them
louder than full scale                              clipped
missing, no file, empty (0 bytes)                   refused: it does not exist, it is not a file, it is empty
larger than MAX_ENCODED_BYTES                       refused before it is read
a playlist, manifest or script, a picture           refused, and nothing that it names is opened
other data                                          refused with ffmpeg's reason
no sample, or too few for one at 16 kHz             refused: no audio samples
shorter than ``min_s``                              refused with both durations
longer than MAX_SONG_S                              refused, having decoded no more than that; with ``max_s`` its
                                                    middle is kept, which takes ffmpeg two passes and little memory
sample rate out of range (0, 1 Hz, 4 GHz)           refused with the rate, or ffmpeg's reason
never above SILENT_PEAK                             refused: it is silent, or its channels cancel each other
mix keeps less than a fifth of the channels' level  kept, with a note (CANCELS) that the job counts
damaged, so that the decoder complains              kept, with a note (DAMAGED) that the job counts
NaN or infinite samples                             refused: samples that are not numbers
more than ``limit_s`` of decoding, or a hang        refused with the limit
makes a decoder crash or exceed a limit             refused with how the decoder ended
==================================================  ================================================================
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from genrescale.audio import Clip, len_to_seconds, seconds_to_len
from genrescale.data.decoding.content import CANCELS
from genrescale.data.decoding.decoders import (
    MAX_SONG_S,
    Decoded,
    DecodeError,
    decode_with_ffmpeg,
    decode_with_sndfile,
    refuse_bitstream,
)

DECODE_LIMIT_S = 60.0
"""Seconds of wall time that each of the two decoders may take for a file."""
MAX_ENCODED_BYTES = 1 << 30
"""Larger files are refused: two hours of stereo at 16 bit and 44.1 kHz have 1.2 times as many."""
SILENT_PEAK = 3
"""A song that never exceeds this absolute sample value (-81 dBFS) is refused as silent."""


def decode_pcm(
    source: bytes | Path, name: str, min_s: float = 0.0, limit_s: float = DECODE_LIMIT_S, max_s: float = 0.0
) -> Clip:
    """The first audio stream of an encoded file as mono 16 kHz int16, whole; its key is ``name``.

    Of a file longer than MAX_SONG_S the middle ``max_s`` seconds, where that is not 0. Raises DecodeError as the table
    above says; ``limit_s`` are seconds of wall time.
    """
    with _opened(source, name) as file:
        decoded = decode_with_sndfile(file, name, limit_s, excerpt=bool(max_s))
        if decoded is None:
            refuse_bitstream(file, name, limit_s)
            decoded = decode_with_ffmpeg(file, name, limit_s, seconds_to_len(max_s))
    return Clip(name, _checked(decoded, name, min_s), decoded.notes)


def middle_excerpt(clip: Clip, max_s: float) -> Clip:
    """The middle ``max_s`` seconds of a clip; the clip itself where it is shorter or ``max_s`` is 0."""
    max_len = seconds_to_len(max_s)
    if not max_len or len(clip.pcm_T) <= max_len:
        return clip
    start = (len(clip.pcm_T) - max_len) // 2
    return Clip(clip.key, clip.pcm_T[start : start + max_len], clip.notes)


def too_short(duration_s: float, min_s: float) -> str:
    return f"{duration_s:.2f} s is shorter than min_s={min_s:g}"


def check_size(num_bytes: int, name: str) -> None:
    """Raises DecodeError for an encoded file that is larger than MAX_ENCODED_BYTES."""
    if num_bytes > MAX_ENCODED_BYTES:
        raise DecodeError(name, f"the file has {num_bytes:,} bytes, more than {MAX_ENCODED_BYTES:,}")


@contextmanager
def _opened(source: bytes | Path, name: str) -> Iterator[int]:
    """The descriptor of an encoded file, opened for reading; bytes lie in a file without a name."""
    if isinstance(source, bytes):
        _check_kind(stat.S_IFREG, len(source), name)
        with tempfile.TemporaryFile() as file:
            file.write(source)
            file.flush()
            yield file.fileno()
        return
    try:
        found = source.stat()
        _check_kind(found.st_mode, found.st_size, name)  # a pipe or a device is not even opened
        file = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise DecodeError(name, "the file does not exist") from None
    except DecodeError:
        raise
    except (OSError, ValueError) as error:  # e.g. no right to it, a name that is too long or holds a NUL
        raise DecodeError(name, f"the file cannot be read ({getattr(error, 'strerror', None) or error})") from None
    try:
        found = os.fstat(file)  # another file may have taken its place
        _check_kind(found.st_mode, found.st_size, name)
        yield file
    finally:
        os.close(file)


def _check_kind(mode: int, num_bytes: int, name: str) -> None:
    if not stat.S_ISREG(mode):
        raise DecodeError(name, "it is not a file")
    if not num_bytes:
        raise DecodeError(name, "the file is empty (0 bytes)")
    check_size(num_bytes, name)


def _checked(decoded: Decoded, name: str, min_s: float) -> np.ndarray:
    pcm_T = decoded.pcm_T
    duration_s = len_to_seconds(len(pcm_T))
    if not len(pcm_T):
        raise DecodeError(name, "it holds no audio samples")
    if duration_s < min_s:
        raise DecodeError(name, too_short(duration_s, min_s))
    if duration_s > MAX_SONG_S:
        raise DecodeError(name, f"it is longer than {MAX_SONG_S:g} s")
    if max(int(pcm_T.max()), -int(pcm_T.min())) <= SILENT_PEAK:
        raise DecodeError(name, CANCELS if CANCELS in decoded.notes else "it is silent")
    return pcm_T
