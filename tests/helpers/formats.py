"""One short piece of music in every format that a corpus may come in, encoded by ffmpeg."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import soundfile

from genrescale.data.decoding.decoders import decode_with_ffmpeg, decode_with_sndfile, ffmpeg_exe

RATE = 44_100
# name: (suffix, what ffmpeg is asked for)
FORMATS = {
    "mp3": ("mp3", "-c:a libmp3lame -b:a 128k"),
    "mp3 48 kHz mono": ("mp3", "-c:a libmp3lame -ar 48000 -ac 1"),
    "mp3 vbr without a Xing header": ("mp3", "-c:a libmp3lame -q:a 4 -write_xing 0"),
    "mp2": ("mp2", "-c:a mp2"),
    "m4a": ("m4a", "-c:a aac"),
    "m4a 5.1": ("m4a", "-c:a aac -ac 6"),
    "m4a lossless": ("m4a", "-c:a alac"),
    "aac adts": ("aac", "-c:a aac -f adts"),
    "flac": ("flac", "-c:a flac"),
    "flac 24 bit 96 kHz": ("flac", "-c:a flac -sample_fmt s32 -ar 96000"),
    "flac in ogg": ("oga", "-c:a flac"),
    "ogg": ("ogg", "-c:a libvorbis"),
    "ogg of short pages": ("ogg", "-c:a libvorbis -page_duration 20000"),
    "ogg 32 kHz mono": ("ogg", "-c:a libvorbis -ar 32000 -ac 1"),
    "opus": ("opus", "-c:a libopus"),
    "opus of short pages": ("opus", "-c:a libopus -page_duration 20000"),
    "opus 32 kbit mono": ("opus", "-c:a libopus -b:a 32k -ac 1"),
    "webm": ("webm", "-c:a libopus"),
    "wav": ("wav", "-c:a pcm_s16le"),
    "wav 5.1": ("wav", "-c:a pcm_s16le -ac 6"),
    "wav 8 kHz": ("wav", "-c:a pcm_u8 -ar 8000 -ac 1"),
    "wav float 192 kHz": ("wav", "-c:a pcm_f32le -ar 192000"),
    "wav adpcm": ("wav", "-c:a adpcm_ms"),
    "au": ("au", "-c:a pcm_s16be"),
    "aiff": ("aiff", "-c:a pcm_s16be"),
    "wma": ("wma", "-c:a wmav2"),
    "wavpack": ("wv", "-c:a wavpack"),
}


def music(seconds: float) -> np.ndarray:
    """Chords whose level changes all the time, so that only one alignment fits; (T, 2) in [-1, 1]."""
    t = np.arange(round(RATE * seconds)) / RATE
    level = np.random.default_rng(0).uniform(0.3, 1.0, len(t) // 2000 + 2)
    swell = np.interp(np.arange(len(t)) / 2000, np.arange(len(level)), level)
    left = sum(np.sin(2 * np.pi * f * t + np.sin(5 * t)) for f in (220.0, 440.0, 1234.5)) / 5
    right = sum(np.sin(2 * np.pi * f * t) for f in (330.0, 990.0, 5000.0)) / 6
    return np.stack([left, right], axis=1) * swell[:, None]


def run_ffmpeg(*arguments: str | Path) -> bytes:
    """What ffmpeg writes to its output pipe."""
    command = [ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def encoded(name: str, seconds: float, folder: Path) -> Path:
    """The piece in the format ``name``, made once in ``folder``."""
    suffix, options = FORMATS[name]
    source, path = folder / f"source {seconds:g}.wav", folder / f"{name} {seconds:g}.{suffix}"
    if path.exists():
        return path
    if not source.exists():
        soundfile.write(source, music(seconds), RATE)
    run_ffmpeg("-i", source, *options.split(), path)
    return path


def bitstream(codec: str, seconds: float, folder: Path, container: str = "spdif") -> bytes:
    """The piece as ``codec`` at 48 kHz: for a digital output (IEC 61937), or with another ``container`` as it is."""
    source = encoded("wav", seconds, folder)
    return run_ffmpeg("-i", source, "-ac", "2", "-ar", "48000", "-c:a", codec, "-strict", "-2", "-f", container, "-")


def by_sndfile(path: Path, limit_s: float = 60.0) -> np.ndarray | None:
    """What our first decoder alone makes of a file."""
    with path.open("rb") as file:
        decoded = decode_with_sndfile(file.fileno(), "song", limit_s)
    return None if decoded is None else decoded.pcm_T


def by_ffmpeg(path: Path) -> np.ndarray:
    """What our second decoder alone makes of a file."""
    with path.open("rb") as file:
        return decode_with_ffmpeg(file.fileno(), "song", 60.0).pcm_T


def plain_ffmpeg(path: Path) -> np.ndarray:
    """The reference: mono 16 kHz int16 as anybody would ask ffmpeg for it."""
    return np.frombuffer(run_ffmpeg("-i", path, "-f", "s16le", "-ac", "1", "-ar", "16000", "-"), "<i2")
