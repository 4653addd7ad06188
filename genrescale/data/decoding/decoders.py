"""The two decoders: libsndfile in this process, and ffmpeg, one process per file. Only ``decode.py`` uses them.

libsndfile decodes mono and stereo WAV, FLAC, Ogg Vorbis, MP3, AU and AIFF faster than a process for each file
could start. It is asked only for files whose length it knows, and believed only where it finds all that they promise;
everything else goes to ffmpeg. ffmpeg reads files, not pipes: from a pipe it can neither trim the padding at an MP3's
end (its result is up to 2 frames longer) nor open an M4A whose index lies at its end.
"""

from __future__ import annotations

import mmap
import os
import re
import resource
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import IO

import ffmpeg
import imageio_ffmpeg
import numpy as np
import soundfile
import soxr

from genrescale.audio import PCM_DTYPE, SAMPLE_RATE

MAX_SONG_S = 2 * 3600.0
"""No more of a song is held in memory (230 MB at this length): longer ones are refused, or an excerpt is taken."""
MIN_RATE, MAX_RATE = 4_000, 384_000
"""Sample rates (Hz) outside of these are a damaged header's, not music's."""
MEMORY_LIMIT = 4 << 30
"""Bytes of address space that ffmpeg may take; it needs less than 1 GB for any sane file."""
BLOCK_FRAMES = 1 << 18
PCM_PEAK = 32768.0
_LARGEST_MP3_FRAME = 1441  # bytes: 320 kbit/s at 32 kHz, padded
_LOG_BYTES = 4096
_INPUT = "SONG"


class DecodeError(ValueError):
    """A file that gives no usable audio; says which file and why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str]]:
        return DecodeError, (self.name, self.reason)


@cache
def ffmpeg_exe() -> str:
    """The ffmpeg of PATH, else the one that imageio-ffmpeg carries."""
    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()


def memory_limit() -> tuple[int, int]:
    """What ``setrlimit`` takes: MEMORY_LIMIT, or less where this process itself may have no more."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT, hard)
    return limit, limit


def decode_here(path: Path, name: str, limit_s: float, excerpt: bool = False) -> np.ndarray | None:
    """libsndfile's samples, or None where ffmpeg has to try. In blocks: neither time nor memory is unbounded.

    With ``excerpt``, a file longer than MAX_SONG_S is left to ffmpeg.
    """
    started, parts = time.monotonic(), []
    try:
        # as bytes: a name need not be text
        with soundfile.SoundFile(os.fsencode(path)) as file:  # pyright: ignore[reportArgumentType]
            if not MIN_RATE <= file.samplerate <= MAX_RATE:
                raise DecodeError(
                    name, f"its sample rate of {file.samplerate} Hz is not from {MIN_RATE} to {MAX_RATE} Hz"
                )
            if file.channels > 2 or file.subtype == "OPUS" or not _knows_its_length(path, file.format):
                return None  # Opus: ffmpeg takes half of libsndfile's time
            if excerpt and file.frames > MAX_SONG_S * file.samplerate:
                return None
            resampler = soxr.ResampleStream(file.samplerate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
            block_TC = np.empty((BLOCK_FRAMES, file.channels), np.float32)
            left = promised = min(file.frames, (int(MAX_SONG_S) + 1) * file.samplerate)
            while left > 0:
                wave_TC = file.read(out=block_TC[:left])
                if not len(wave_TC):
                    return None  # cut short, or damaged in the middle, where libsndfile stops and ffmpeg goes on
                left -= len(wave_TC)
                wave_T = (wave_TC[:, 0] + wave_TC[:, -1]) / 2  # mean(axis=1) takes 40 times as long
                parts.append(_to_pcm(resampler.resample_chunk(wave_T, last=left <= 0), name))
                if time.monotonic() - started > limit_s:
                    raise DecodeError(name, f"decoding took more than {limit_s:g} s")
    except (soundfile.SoundFileError, TypeError):  # TypeError: a name that ends in .raw
        return None
    # no frames promised: the header of a stream that was written to a pipe
    return np.concatenate(parts) if promised else None


def decode_with_ffmpeg(path: Path, name: str, limit_s: float, max_len: int = 0) -> np.ndarray:
    """ffmpeg's samples. Raises DecodeError with ffmpeg's reason where it refuses.

    Of a file longer than MAX_SONG_S a second is more than that, enough to know; where ``max_len`` is not 0, its middle
    ``max_len`` samples: a first pass counts all samples, a second one keeps those.
    """
    longest = int(MAX_SONG_S * SAMPLE_RATE)
    parts, total = [np.empty(0, PCM_DTYPE)], 0
    for pcm_T in _stream(path, name, limit_s, whole=bool(max_len)):
        total += len(pcm_T)
        if max_len and total > longest:
            parts.clear()
        else:
            parts.append(pcm_T)
    if not max_len or total <= longest:
        return np.concatenate(parts)
    start, at, parts = (total - max_len) // 2, 0, []
    with closing(_stream(path, name, limit_s, whole=True)) as blocks:
        for pcm_T in blocks:
            if at + len(pcm_T) > start:  # an empty slice of the others would hold them
                parts.append(pcm_T[max(0, start - at) : start + max_len - at])
            at += len(pcm_T)
            if at >= start + max_len:
                break
    return np.concatenate(parts)


def _stream(path: Path, name: str, limit_s: float, whole: bool) -> Generator[np.ndarray, None, None]:
    """ffmpeg's int16 samples in blocks, not of the ``whole`` file only those of MAX_SONG_S + 1 s."""
    stopped = threading.Event()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(_command(path, whole), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, memory_limit())
        timer = threading.Timer(limit_s, lambda: (stopped.set(), process.kill()))
        timer.start()
        try:
            assert process.stdout is not None
            with process.stdout as stdout:
                for block_T in _blocks(stdout):
                    yield _to_pcm(block_T, name)
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()
            timer.cancel()
        if stopped.is_set():
            raise DecodeError(name, f"decoding took more than {limit_s:g} s")
        if process.returncode:
            raise DecodeError(name, _reason(_tail(log), path, process.returncode))


def _to_pcm(wave_T: np.ndarray, name: str) -> np.ndarray:
    """float32 to int16: to the nearest, clipped at full scale."""
    if not np.isfinite(wave_T).all():
        raise DecodeError(name, "it holds samples that are not numbers")
    return np.clip(np.rint(wave_T * PCM_PEAK), -PCM_PEAK, PCM_PEAK - 1).astype(PCM_DTYPE)


def _knows_its_length(path: Path, format: str) -> bool:
    """Whether libsndfile's count of frames can be relied on: it reads no further than that."""
    if format == "MP3":
        return _mp3_header_agrees(path)
    if format == "OGG":
        # it reads only the first of several streams behind each other (a recorded broadcast)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.rfind(b"OggS\0\2") == 0
    return True


def _mp3_header_agrees(path: Path) -> bool:
    """Whether an MP3 begins with a Xing header whose counts fit the file.

    Without one, libsndfile guesses the length from the first frame's bit rate, and loses up to half of a file of
    variable bit rate; one that tells of another file (parts put together, an edited file) misleads it as well.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        tag = file.read(10)
        start = 0
        if tag[:3] == b"ID3":
            start = 10 + sum((byte & 0x7F) << 7 * i for i, byte in enumerate(reversed(tag[6:10])))
        file.seek(start)
        head = file.read(64)
        file.seek(max(0, size - 128))
        end = size - 128 if file.read(3) == b"TAG" else size
    found = max(head.find(b"Xing", 0, 40), head.find(b"Info", 0, 40))
    if len(head) < 64 or head[:1] != b"\xff" or found < 0 or head[found + 7] & 3 != 3:
        return False
    num_frames, num_bytes = (int.from_bytes(head[found + 8 + i : found + 12 + i]) for i in (0, 4))
    # writers differ in whether they count the header's own frame
    return num_bytes <= num_frames * _LARGEST_MP3_FRAME and abs(end - start - num_bytes) <= _LARGEST_MP3_FRAME


def _command(path: Path, whole: bool) -> list[str]:
    return [str(path.absolute()) if part == _INPUT else part for part in _arguments(whole)]


@cache
def _arguments(whole: bool) -> list[str]:
    """ffmpeg's command line for _INPUT; a file's own name need not be text, as ffmpeg-python wants it."""
    # one thread per decoder and filter: the cores are kept busy by other files;
    # protocols: a playlist dressed as a song must not open addresses
    # rematrix_maxval: without it ffmpeg mixes to floats that are 3 dB (5.1: 11 dB) too loud and exceed full scale
    limit = {} if whole else {"t": MAX_SONG_S + 1}
    stream = ffmpeg.input(_INPUT, threads=1, protocol_whitelist="file")["a:0"].output(
        "pipe:", format="f32le", ac=1, ar=SAMPLE_RATE, threads=1, filter_threads=1, rematrix_maxval=1, **limit
    )
    options = ("-nostdin", "-hide_banner", "-loglevel", "error")
    return [str(part) for part in ffmpeg.compile(stream.global_args(*options), cmd=ffmpeg_exe())]


def _blocks(stdout: IO[bytes]) -> Iterator[np.ndarray]:
    """float32 blocks of a pipe; half a sample at its end (ffmpeg was killed) is dropped."""
    while data := stdout.read(4 * BLOCK_FRAMES):
        yield np.frombuffer(data[: len(data) // 4 * 4], "<f4")


def _tail(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, 2) - _LOG_BYTES))
    return log.read().decode(errors="replace")


def _reason(log: str, path: Path, returncode: int) -> str:
    if "matches no streams" in log:
        return "it has no audio stream"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if not lines:
        return f"ffmpeg ended with {returncode} and no message"
    # the temporary file's name and ffmpeg's addresses say nothing and would differ between two runs
    last = lines[-1].replace(str(path.absolute()), "input")
    return f"ffmpeg: {re.sub(r' @ 0x[0-9a-f]+', '', last)}"
