"""What decoding a song costs: ``python benchmarks/decode.py [rounds]``.

One song of 30 s at 44.1 kHz stereo in each format, to mono 16 kHz: as the sharding job does it (ours), with one ffmpeg
process for every file, and with PyAV where it is installed (it is no dependency). Prints milliseconds of CPU (this
process and all that it started) and of wall time for a song, the median of the rounds, then one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
import soundfile
from _cpu import cpu_s

from genrescale.data.decoding.decode import decode_pcm
from genrescale.data.decoding.decoders import decode_with_ffmpeg, ffmpeg_exe

try:
    import av  # pyright: ignore[reportMissingImports]
except ImportError:
    av = None

SECONDS, RATE, SONGS = 30, 44_100, 10
FORMATS = {
    "mp3": {"acodec": "libmp3lame", "audio_bitrate": "128k"},
    "flac": {"acodec": "flac"},
    "ogg": {"acodec": "libvorbis"},
    "m4a": {"acodec": "aac", "audio_bitrate": "128k"},
    "opus": {"acodec": "libopus"},
    "wma": {"acodec": "wmav2"},
    "wav": {"acodec": "pcm_s16le"},
}


def encode(folder: Path) -> dict[str, Path]:
    """Shaped noise and chords: like music, neither trivial nor impossible to compress."""
    t = np.arange(SECONDS * RATE) / RATE
    noise_TC = np.random.default_rng(0).standard_normal((len(t), 2))
    noise_TC[1:] = (noise_TC[1:] + noise_TC[:-1]) / 2
    chords_T = np.sum([np.sin(2 * np.pi * f * t + np.sin(3 * t)) for f in (220.0, 277.2, 329.6, 1234.5)], axis=0)
    soundfile.write(folder / "source.wav", 0.1 * chords_T[:, None] + 0.03 * noise_TC, RATE)
    songs = {}
    for suffix, options in FORMATS.items():
        songs[suffix] = folder / f"song.{suffix}"
        stream = ffmpeg.input(str(folder / "source.wav")).output(str(songs[suffix]), **options)
        stream.run(cmd=ffmpeg_exe(), quiet=True)
    return songs


def with_ffmpeg(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return decode_with_ffmpeg(file.fileno(), "song", 60.0).pcm_T


def with_pyav(path: Path) -> np.ndarray:
    """The same with PyAV: decoded and resampled by ffmpeg's libraries in this process."""
    assert av is not None
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        stream.thread_count = 1
        resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
        frames = [out for frame in container.decode(stream) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def measure(work: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median milliseconds of CPU and of wall time for a song; a round decodes SONGS, because CPU time has ticks."""
    work()
    cpu, wall = [], []
    for _ in range(rounds):
        cpu_start, start = cpu_s(), time.perf_counter()
        for _ in range(SONGS):
            work()
        cpu.append(1000 * (cpu_s() - cpu_start) / SONGS)
        wall.append(1000 * (time.perf_counter() - start) / SONGS)
    return statistics.median(cpu), statistics.median(wall)


def main() -> None:
    """Measures and prints."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    decoders = {"ours": lambda path: decode_pcm(path, "song"), "ffmpeg": with_ffmpeg}
    if av is not None:
        decoders["pyav"] = with_pyav
    print(f"{SECONDS} s, {RATE} Hz stereo, one process\n{'format':<8}{'decoder':<10}{'CPU ms':>8}{'wall ms':>9}")
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix, path in encode(Path(folder)).items():
            for name, decode in decoders.items():
                cpu_ms, wall_ms = measure(lambda d=decode, p=path: d(p), rounds)
                print(f"{suffix:<8}{name:<10}{cpu_ms:>8.0f}{wall_ms:>9.0f}")
                figures[f"{suffix}_{name}_cpu_ms"], figures[f"{suffix}_{name}_wall_ms"] = cpu_ms, wall_ms
    rounded = {name: round(ms, 1) for name, ms in figures.items()}
    print(json.dumps({"benchmark": "decode", "figures": rounded}))


if __name__ == "__main__":
    main()
