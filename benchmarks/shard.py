"""MP3 to finished shards on one core, against ffmpeg for each file with a tar writer, and against the decoder alone.

Clips of 30 s (44.1 kHz, stereo), read and written on the local disk. A figure counts the CPU seconds of this
process and of all that it starts, so that other work on the machine does not count. python benchmarks/shard.py clips=64
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import ffmpeg
import numpy as np
from _cpu import cpu_s
from webdataset.writer import TarWriter

from genrescale.audio import SAMPLE_RATE, Song, Vocabulary
from genrescale.config.corpus import ShardSettings
from genrescale.data.decoding.decode import decode_pcm
from genrescale.data.decoding.decoders import ffmpeg_exe
from genrescale.data.sharding.writer import ShardTask, write_shard
from genrescale.data.synthesis.describe import describe_song
from genrescale.data.synthesis.render import render
from genrescale.data.synthesis.write import encode
from genrescale.storage.store import Store

ROUNDS = 3
VOCABULARY = Vocabulary.of_classes(["rock"])


def write_clips(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{i:03d}.mp3" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(encode(render(describe_song(0, i, 30.0, 30.0)), "mp3"))
    return paths


def by_ffmpeg(paths: list[Path], folder: Path) -> None:
    """What a script does that knows both libraries: a process for each file, a tar of the answers."""
    with (folder / "theirs.tar").open("wb") as file:
        writer = TarWriter(file, encoder=False)
        for path in paths:
            stream = ffmpeg.input(str(path)).output("pipe:", format="s16le", ac=1, ar=SAMPLE_RATE)
            pcm, _ = stream.run(cmd=ffmpeg_exe(), capture_stdout=True, quiet=True)
            facts = {"key": path.stem, "labels": {"rock": 1}}
            writer.write({"__key__": path.stem, "json": json.dumps(facts).encode(), "pcm": pcm})
        writer.close()


def by_decoder(paths: list[Path], _: Path) -> None:
    for path in paths:
        decode_pcm(path, path.name)


def by_genrescale(paths: list[Path], folder: Path) -> None:
    songs = [Song(path.stem, str(path), "", {"rock": 1.0}) for path in paths]
    labels_nK, settings = np.ones((len(songs), 1), np.float32), ShardSettings(songs_per_shard=len(songs))
    store = Store(str(folder / "ours"))
    write_shard(ShardTask(store, "shards/train-000000.tar", "train", 0, songs, labels_nK, VOCABULARY, "", settings))


def cpu_of(work: Callable[[], None]) -> float:
    """CPU seconds of what is done here and in processes that are started for it."""
    before = cpu_s()
    work()
    return cpu_s() - before


def main() -> None:
    settings = dict(argument.split("=", 1) for argument in sys.argv[1:])
    ways = {"ffmpeg_per_file": by_ffmpeg, "decoder": by_decoder, "genrescale": by_genrescale}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        paths = write_clips(folder, int(settings.get("clips", 64)))
        by_genrescale(paths[:1], folder)  # imports
        # in turns, so that a slow minute of the machine hits every way; the quickest turn is the least disturbed
        turns = [
            {name: cpu_of(lambda way=way: way(paths, folder)) for name, way in ways.items()} for _ in range(ROUNDS)
        ]
    rate = {name: len(paths) / min(turn[name] for turn in turns) for name in ways}
    for name, clips_per_s in rate.items():
        print(f"{name:<16} {clips_per_s:6.1f} clips/s of a core, {1000 / clips_per_s:6.1f} ms a clip")
    figures = {f"{name}_clips_per_core_s": round(value, 2) for name, value in rate.items()}
    figures["vs_ffmpeg_per_file"] = round(rate["genrescale"] / rate["ffmpeg_per_file"], 2)
    figures["share_of_decoder"] = round(rate["genrescale"] / rate["decoder"], 3)
    print(json.dumps({"benchmark": "shard", "figures": figures}))


if __name__ == "__main__":
    main()
