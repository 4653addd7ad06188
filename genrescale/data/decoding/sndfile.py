"""libsndfile as a program: an encoded file on standard input, mono float32 at 16 kHz on standard output.

It decodes mono and stereo WAV, FLAC, Ogg Vorbis, MP3, AU and AIFF in half of the time that ffmpeg takes. It is asked
only for files whose length it knows, and believed only where it finds all that they promise, and where what it calls
samples looks like samples (``content.py``); everything else is left to
ffmpeg. It runs in a process of its own for every song (``fork_server.py``), with nothing but the opened file.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from typing import IO

import numpy as np
import soundfile
import soxr

from genrescale.audio import SAMPLE_RATE
from genrescale.data.decoding.content import CANCELLED, CANCELS, disguise, found_in, loud_part

REFUSED, LEFT_TO_FFMPEG = 3, 4
"""How the program ends besides 0: with its reason on standard error, or with nothing that counts."""
MIN_RATE, MAX_RATE = 4_000, 384_000
"""Sample rates (Hz) outside of these are a damaged header's, not music's."""
BLOCK_FRAMES = 1 << 18
_LOOK_FRAMES = 1 << 16
_WIDTHS = {"PCM_U8": 1, "PCM_S8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4}
"""Bytes of samples that are stored as they are, and so may be none."""
_WAV = ("WAV", "WAVEX", "RF64", "W64")
_LARGEST_MP3_FRAME = 1441  # bytes: 320 kbit/s at 32 kHz, padded


def main(longest_s: float, excerpt: bool) -> int:
    """Decode standard input; returns the exit status.

    A file longer than ``longest_s`` ends a second later, enough to know; with ``excerpt`` it is left to ffmpeg.
    """
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        try:
            return _decode(sys.stdin.fileno(), out, longest_s, excerpt)
        except (ValueError, MemoryError) as error:
            reason = "it takes too much memory" if isinstance(error, MemoryError) else str(error)
            os.write(sys.stderr.fileno(), reason.encode(errors="replace"))
            return REFUSED


def warm_up() -> None:
    """Load what the first file would load: processes that are forked afterwards have it."""
    with tempfile.TemporaryFile() as file, open(os.devnull, "wb") as out:
        soundfile.write(file, np.ones((2 * SAMPLE_RATE, 2)) / 2, 2 * SAMPLE_RATE, "PCM_16", format="WAV")
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        if _decode(file.fileno(), out, 2.0, False):
            raise AssertionError("libsndfile cannot decode a plain WAV file")


def _decode(file: int, out: IO[bytes], longest_s: float, excerpt: bool) -> int:
    """In blocks, so that memory is bounded. Raises ValueError where the file is refused."""
    try:
        if _is_disguised(file):
            return LEFT_TO_FFMPEG
        with soundfile.SoundFile(file, closefd=False) as song:
            if not MIN_RATE <= song.samplerate <= MAX_RATE:
                raise ValueError(f"its sample rate of {song.samplerate} Hz is not from {MIN_RATE} to {MAX_RATE} Hz")
            if song.channels > 2 or song.subtype == "OPUS" or not _knows_its_length(file, song.format):
                return LEFT_TO_FFMPEG  # Opus: ffmpeg takes half of libsndfile's time
            if excerpt and song.frames > longest_s * song.samplerate:
                return LEFT_TO_FFMPEG
            resampler = soxr.ResampleStream(song.samplerate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
            block_TC = np.empty((BLOCK_FRAMES, song.channels), np.float32)
            level = mix = 0.0  # energies
            left = promised = min(song.frames, (int(longest_s) + 1) * song.samplerate)
            while left > 0:
                wave_TC = song.read(out=block_TC[:left])
                if not len(wave_TC):
                    return LEFT_TO_FFMPEG  # cut short, or damaged in the middle: libsndfile stops, ffmpeg goes on
                left -= len(wave_TC)
                wave_T = (wave_TC[:, 0] + wave_TC[:, -1]) / 2  # mean(axis=1) takes 40 times as long
                level += float(np.vdot(wave_TC, wave_TC)) / song.channels
                mix += float(np.vdot(wave_T, wave_T))
                out.write(resampler.resample_chunk(wave_T, last=left <= 0).astype("<f4", copy=False).tobytes())
    except soundfile.SoundFileError:
        return LEFT_TO_FFMPEG
    if mix < CANCELLED**2 * level:
        os.write(sys.stderr.fileno(), f"\n{CANCELS}\n".encode())
    # no frames promised: the header of a stream that was written to a pipe
    return 0 if promised else LEFT_TO_FFMPEG


def _is_disguised(file: int) -> bool:
    """Whether what a WAV calls samples is a bitstream, which ffmpeg may know. Raises ValueError for other files.

    They are judged by where they become loud and by the middle of the file.
    """
    try:
        with soundfile.SoundFile(file, closefd=False) as song:
            if not (width := _WIDTHS.get(song.subtype)):
                return False
            begin_TC = loud_part(song.blocks(_LOOK_FRAMES, dtype="int32", always_2d=True))
            content = found_in(begin_TC, width)
            if not content and song.frames > _LOOK_FRAMES:
                song.seek(song.frames // 2)
                content = found_in(song.read(_LOOK_FRAMES, dtype="int32", always_2d=True), width)
            is_wav = song.format in _WAV and width == 2
    finally:
        os.lseek(file, 0, os.SEEK_SET)
    if content and not is_wav:
        raise ValueError(disguise(content))
    return bool(content)


def _knows_its_length(file: int, format: str) -> bool:
    """Whether libsndfile's count of frames can be relied on: it reads no further than that."""
    if format == "MP3":
        return _mp3_header_agrees(file)
    if format == "OGG":
        # it reads only the first of several streams behind each other (a recorded broadcast)
        with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as data:
            return data.rfind(b"OggS\0\2") == 0
    return True


def _mp3_header_agrees(file: int) -> bool:
    """Whether an MP3 begins with a Xing header whose counts fit the file.

    Without one, libsndfile guesses the length from the first frame's bit rate, and loses up to half of a file of
    variable bit rate; one that tells of another file (parts put together, an edited file) misleads it as well.
    """
    size = os.fstat(file).st_size
    tag, start = os.pread(file, 10, 0), 0
    if tag[:3] == b"ID3":
        start = 10 + sum((byte & 0x7F) << 7 * i for i, byte in enumerate(reversed(tag[6:10])))
    head = os.pread(file, 64, start)
    end = size - 128 if os.pread(file, 3, max(0, size - 128)) == b"TAG" else size
    found = max(head.find(b"Xing", 0, 40), head.find(b"Info", 0, 40))
    if len(head) < 64 or head[:1] != b"\xff" or found < 0 or head[found + 7] & 3 != 3:
        return False
    num_frames, num_bytes = (int.from_bytes(head[found + 8 + i : found + 12 + i]) for i in (0, 4))
    # writers differ in whether they count the header's own frame
    return num_bytes <= num_frames * _LARGEST_MP3_FRAME and abs(end - start - num_bytes) <= _LARGEST_MP3_FRAME
