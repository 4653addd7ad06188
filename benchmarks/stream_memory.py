"""Memory and the first batch of a stream over 1k to 1M songs of 30 s in shards of 256 MB: neither may grow with them.

python benchmarks/stream_memory.py sizes=1000,10000,100000,1000000 clips=6000

Five shards are written (1.3 GB) and linked to by as many names as the songs need. For each size a new plan streams
``clips`` verified crops of 15 s in groups of 32. Private memory of the consumer (a training worker's place) and of a
read process; what is touched of the object store; seconds from asking to the first batch.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _stream_songs import BATCH, CROP_LEN, SONG_LEN, song  # noqa: E402

from genrescale.cluster import connect  # noqa: E402
from genrescale.data.crops import SongTable  # noqa: E402
from genrescale.data.index import second_checksums  # noqa: E402
from genrescale.data.plan import RunPlan, ScorePlan, TrainPlan  # noqa: E402
from genrescale.data.samplers import Uniform  # noqa: E402
from genrescale.data.source import StreamSource  # noqa: E402
from genrescale.data.store import Store  # noqa: E402
from genrescale.data.stream import GroupStream  # noqa: E402

SONGS_PER_SHARD, REAL_SHARDS = 267, 5  # 256 MB each
SECONDS = SONG_LEN // 16_000


def write_shards(folder: Path) -> np.ndarray:
    """The audio of the songs without a tar around it; returns the checksums of their seconds."""
    checksums = []
    for shard in range(REAL_SHARDS):
        with (folder / f"real-{shard}.tar").open("wb") as file:
            for i in range(SONGS_PER_SHARD):
                pcm = song(shard * SONGS_PER_SHARD + i).tobytes()
                file.write(pcm)
                checksums.append(second_checksums(pcm))
    return np.concatenate(checksums)


def source_of(folder: Path, checksums: np.ndarray, num_songs: int) -> StreamSource:
    """So many songs in shards of 256 MB, which are names of the real ones."""
    song_N = np.arange(num_songs)
    shard_N = song_N // SONGS_PER_SHARD
    names = tuple(f"{shard}.tar" for shard in range(int(shard_N[-1]) + 1))
    for shard, name in enumerate(names):
        if not (folder / name).exists():
            os.link(folder / f"real-{shard % REAL_SHARDS}.tar", folder / name)
    real_N = song_N % (SONGS_PER_SHARD * REAL_SHARDS)
    table = SongTable(
        store=Store(str(folder)),
        shard_names=names,
        keys=pa.array([f"song{i:07d}" for i in range(num_songs)]),
        shard_N=shard_N,
        offset_N=real_N % SONGS_PER_SHARD * SONG_LEN * 2,
        len_N=np.full(num_songs, SONG_LEN),
        crc_N=song_N * SECONDS,
        crc32=checksums.reshape(-1, SECONDS)[real_N].ravel(),
        labels_NK=np.zeros((num_songs, 50), np.float32),
        part_N=np.zeros(num_songs, np.int64),
    )
    plan = TrainPlan(table.len_N, 0, BATCH, BATCH, CROP_LEN, Uniform(num_songs))
    score = ScorePlan(table.len_N[:2], CROP_LEN, "consecutive", "validation")
    return StreamSource({"train": table, "validation": table, "test": table}, RunPlan(plan, score, 10**6, 10**6), score)


class Peaks:
    """Largest memory in MB while the block runs."""

    def __enter__(self) -> dict[str, float]:
        self.found = {"consumer_MB": 0.0, "reader_MB": 0.0, "store_MB": 0.0}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self.found

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._done.wait(0.2):
            self._take("consumer_MB", me)
            for child in me.children(recursive=True):
                if "ReadCrops" in child.name():
                    self._take("reader_MB", child)
            touched = shutil.disk_usage("/dev/shm").used / 1e6  # where Ray's object store lies
            self.found["store_MB"] = max(self.found["store_MB"], touched)

    def _take(self, name: str, process: psutil.Process) -> None:
        try:
            memory: Any = process.memory_info()
        except psutil.Error:
            return
        self.found[name] = max(self.found[name], (memory.rss - memory.shared) / 1e6)


def measure(source: StreamSource, clips: int) -> dict[str, float]:
    import ray

    reference = ray.put(source)
    began, done, first_s = time.perf_counter(), 0, 0.0
    with Peaks() as peaks:
        for group in GroupStream(source, reference, source.plan.items(0, 1), 0.5):
            first_s = first_s or time.perf_counter() - began
            done += len(group)
            if done >= clips:
                break
    return {"first_s": first_s, **peaks}


def main() -> None:
    settings = {"sizes": "1000,10000,100000,1000000", "clips": "6000"}
    settings |= dict(argument.split("=", 1) for argument in sys.argv[1:])
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, connect(num_cpus=4):
        checksums = write_shards(Path(folder))
        measure(source_of(Path(folder), checksums, 1000), 1000)  # Ray's processes have started
        for size in map(int, settings["sizes"].split(",")):
            found = measure(source_of(Path(folder), checksums, size), int(settings["clips"]))
            print(
                f"{size:>9,} songs  " + "  ".join(f"{name} {value:,.1f}" for name, value in found.items()), flush=True
            )
            figures |= {f"{name}_{size}": round(value, 2) for name, value in found.items()}
    print(json.dumps({"benchmark": "stream_memory", "figures": figures}))


if __name__ == "__main__":
    main()
