"""Encoded bytes to PCM: the only user of decoders.

libsndfile decodes mono and stereo WAV, FLAC, Ogg, MP3, AU and AIFF in this process, faster than a process for each
file. What it refuses, or finds broken, goes to ffmpeg, one process per file. ffmpeg reads files, not pipes: from
a pipe it can neither trim the padding at an MP3's end (its result is up to 2 frames longer) nor open an M4A whose index
lies at its end. Bytes are put into a temporary file, so the same song gives the same samples wherever it is stored.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np
import soundfile
import soxr

from genrescale.audio import PCM_DTYPE, SAMPLE_RATE, Clip, len_to_seconds, seconds_to_len

DECODE_LIMIT_S = 60.0
"""Seconds of wall time that one file may take."""
MAX_SONG_S = 2 * 3600.0
"""Longer files are refused: a song's PCM is held in memory (230 MB at this length)."""
MIN_RATE, MAX_RATE = 4_000, 384_000
"""Sample rates (Hz) outside of these are left to ffmpeg."""
BLOCK_FRAMES = 1 << 18
PCM_PEAK = 32768.0
SILENT_PEAK = 3
"""A song that never exceeds this absolute sample value (-81 dBFS) is refused as silent."""


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


def decode_pcm(source: bytes | Path, name: str, min_s: float = 0.0, limit_s: float = DECODE_LIMIT_S) -> Clip:
    """The first audio stream of an encoded file as mono 16 kHz int16, whole; its key is ``name``.

    Raises DecodeError where the file is missing, empty, without an audio stream, refused by ffmpeg, silent, shorter
    than ``min_s`` or longer than MAX_SONG_S, and where decoding takes more than ``limit_s`` seconds.
    """
    if isinstance(source, Path):
        return Clip(name, _checked(_decode_file(source, name, limit_s), name, min_s))
    with tempfile.NamedTemporaryFile(prefix="genrescale-") as file:
        file.write(source)
        file.flush()
        return Clip(name, _checked(_decode_file(Path(file.name), name, limit_s), name, min_s))


def middle_excerpt(clip: Clip, max_s: float) -> Clip:
    """The middle ``max_s`` seconds of a clip; the clip itself where it is shorter or ``max_s`` is 0."""
    max_len = seconds_to_len(max_s)
    if not max_len or len(clip.pcm_T) <= max_len:
        return clip
    start = (len(clip.pcm_T) - max_len) // 2
    return Clip(clip.key, clip.pcm_T[start : start + max_len])


def _command(path: Path) -> list[str]:
    # one thread per decoder and filter: the cores are kept busy by other files;
    # protocols: a playlist dressed as a song must not open addresses
    stream = ffmpeg.input(str(path.absolute()), threads=1, protocol_whitelist="file")["a:0"].output(
        "pipe:", format="s16le", ac=1, ar=SAMPLE_RATE, t=MAX_SONG_S + 1, threads=1, filter_threads=1
    )
    options = ("-nostdin", "-hide_banner", "-loglevel", "error")
    return [str(part) for part in ffmpeg.compile(stream.global_args(*options), cmd=ffmpeg_exe())]


def _decode_file(path: Path, name: str, limit_s: float) -> np.ndarray:
    if not path.is_file():
        raise DecodeError(name, "the file does not exist")
    if not path.stat().st_size:
        raise DecodeError(name, "the file is empty (0 bytes)")
    pcm_T = _decode_here(path, name, limit_s)
    return _decode_with_ffmpeg(path, name, limit_s) if pcm_T is None else pcm_T


def _decode_here(path: Path, name: str, limit_s: float) -> np.ndarray | None:
    """libsndfile's samples, or None where ffmpeg has to try. In blocks: neither time nor memory is unbounded."""
    started, parts = time.monotonic(), []
    try:
        with soundfile.SoundFile(path) as file:
            if file.channels > 2 or not MIN_RATE <= file.samplerate <= MAX_RATE:
                return None
            resampler = soxr.ResampleStream(file.samplerate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
            left, ended = (int(MAX_SONG_S) + 1) * file.samplerate, False
            block_TC = np.empty((BLOCK_FRAMES, file.channels), np.float32)
            while left > 0 and not ended:
                wave_TC = file.read(out=block_TC[:left])
                left -= len(wave_TC)
                ended = len(wave_TC) < BLOCK_FRAMES
                # the mean of one or two channels; numpy's own takes as long as the decoder over so short an axis
                mono_T = (wave_TC[:, 0] + wave_TC[:, -1]) * np.float32(0.5)
                parts.append(resampler.resample_chunk(mono_T, last=ended or left <= 0))
                if time.monotonic() - started > limit_s:
                    raise DecodeError(name, f"decoding took more than {limit_s:g} s")
    except (soundfile.SoundFileError, TypeError):  # TypeError: a name that ends in .raw
        return None
    wave_T = np.concatenate(parts)
    if not np.isfinite(wave_T).all():
        raise DecodeError(name, "it holds samples that are not numbers")
    return np.clip(np.rint(wave_T * PCM_PEAK), -PCM_PEAK, PCM_PEAK - 1).astype(PCM_DTYPE)


def _decode_with_ffmpeg(path: Path, name: str, limit_s: float) -> np.ndarray:
    try:
        done = subprocess.run(_command(path), stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        raise DecodeError(name, f"decoding took more than {limit_s:g} s") from None
    if done.returncode:
        raise DecodeError(name, _reason(done.stderr.decode(errors="replace"), path))
    return np.frombuffer(done.stdout, dtype=PCM_DTYPE)


def _reason(log: str, path: Path) -> str:
    if "matches no streams" in log:
        return "it has no audio stream"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    # the temporary file's name says nothing and would differ between two runs
    last = lines[-1].replace(str(path.absolute()), "input") if lines else "no message"
    return f"ffmpeg: {last}"


def _checked(pcm_T: np.ndarray, name: str, min_s: float) -> np.ndarray:
    duration_s = len_to_seconds(len(pcm_T))
    if not len(pcm_T):
        raise DecodeError(name, "it holds no audio samples")
    if duration_s < min_s:
        raise DecodeError(name, f"{duration_s:.2f} s is shorter than min_s={min_s:g}")
    if duration_s > MAX_SONG_S:
        raise DecodeError(name, f"it is longer than {MAX_SONG_S:g} s")
    if max(int(pcm_T.max()), -int(pcm_T.min())) <= SILENT_PEAK:
        raise DecodeError(name, "it is silent")
    return pcm_T
