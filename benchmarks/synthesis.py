"""How fast one core renders and encodes synthetic songs: ``python benchmarks/synthesis.py [songs]``.

Prints a table in times real time (seconds of audio per CPU second), then one line of JSON. CPU seconds, not wall
seconds, are counted, so that a busy machine gives the same answer.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genrescale.data.synthesis.describe import describe_song
from genrescale.data.synthesis.render import render
from genrescale.data.synthesis.tags import label_song
from genrescale.data.synthesis.write import ENCODERS, FORMAT_SHARES, encode, write_song
from genrescale.storage.store import Store

SEED = 0


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds that ``work`` took, and what it returned."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def measure(num_songs: int, folder: Path) -> dict[str, float]:
    """Times real time of every stage, of each encoder, and of the whole as ``write_song`` does it."""
    render(describe_song(SEED, num_songs))
    describe_cpu_s, songs = cpu_seconds(lambda: [describe_song(SEED, i) for i in range(num_songs)])
    label_cpu_s, _ = cpu_seconds(lambda: [label_song(song) for song in songs])
    render_cpu_s, waves = cpu_seconds(lambda: [render(song) for song in songs])
    audio_s = sum(song.duration_s for song in songs)
    figures = {"describe_x": audio_s / (describe_cpu_s + label_cpu_s), "render_x": audio_s / render_cpu_s}
    for suffix in ENCODERS:
        encode_cpu_s, _ = cpu_seconds(lambda s=suffix: [encode(wave, s) for wave in waves])
        figures[f"encode_{suffix}_x"] = audio_s / encode_cpu_s
    whole_cpu_s, _ = cpu_seconds(lambda: [write_song(Store(str(folder)), SEED, i) for i in range(num_songs)])
    # The sample's own mix of formats is luck; the expected cost is not.
    encode_s = sum(share / figures[f"encode_{suffix}_x"] for suffix, share in FORMAT_SHARES.items())
    figures["whole_expected_x"] = 1 / (1 / figures["describe_x"] + 1 / figures["render_x"] + encode_s)
    figures["whole_measured_x"] = audio_s / whole_cpu_s
    return figures


def main() -> None:
    """Measures and prints."""
    num_songs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(num_songs, Path(folder))
    print(f"{num_songs} songs, one core\n{'stage':<20}{'x real time':>12}{'ms per audio s':>16}")
    for name, times in figures.items():
        print(f"{name.removesuffix('_x'):<20}{times:>12.0f}{1000 / times:>16.2f}")
    rounded = {name: round(times, 1) for name, times in figures.items()}
    print(json.dumps({"benchmark": "synthesis", "figures": rounded}))


if __name__ == "__main__":
    main()
