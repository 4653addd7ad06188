"""Memory and first batch of a stream over 1k to 1M songs of 30 s in shards of 256 MB: neither should grow with them.

python benchmarks/stream_memory.py sizes=1000,10000,100000,1000000 clips=6000

Five shards are written (1.3 GB) and linked to by as many names as the songs need, with a manifest of all songs. For
each size a launch reads the manifest, makes the table of songs and the plan, and streams ``clips`` verified crops of
15 s in groups of 32, from the beginning and, a second launch, from the middle of the third epoch. Seconds: to read the
manifest (``manifest_s``), to make the table (``table_s``; ``by_index_s`` from the shards' indexes, as for corpora
without a file of checksums), from reading the manifest to the first batch (``first_s``, ``resumed_s``). Private memory
of the consumer (a training worker's place) and of a read process, and what is touched of the object store, whose files
stay.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from _stream_songs import BATCH, CROP_LEN, SONG_LEN, song  # noqa: E402

from genrescale.audio import Tag, Vocabulary  # noqa: E402
from genrescale.config.numbers import ceil_div  # noqa: E402
from genrescale.data.checksums import _whole_file  # noqa: E402
from genrescale.data.index import ShardIndex, index_to_bytes, second_checksums  # noqa: E402
from genrescale.data.manifest import read_manifest, write_manifest  # noqa: E402
from genrescale.data.reading.crops import SongTable  # noqa: E402
from genrescale.data.reading.plan import RunPlan, ScorePlan, TrainPlan  # noqa: E402
from genrescale.data.reading.samplers import Uniform  # noqa: E402
from genrescale.data.reading.source import StreamSource  # noqa: E402
from genrescale.data.stream import GroupStream  # noqa: E402
from genrescale.launch.cluster import connect  # noqa: E402
from genrescale.storage.store import Store  # noqa: E402

SONGS_PER_SHARD, REAL_SHARDS = 267, 5  # 256 MB each
SECONDS = SONG_LEN // 16_000


def write_shards(folder: Path) -> tuple[np.ndarray, list[str]]:
    """The audio of the songs without a tar around it, and its indexes; the checksums and the indexes' hashes."""
    checksums, hashes = [], []
    for shard in range(REAL_SHARDS):
        here = []
        with (folder / f"real-{shard}.tar").open("wb") as file:
            for i in range(SONGS_PER_SHARD):
                pcm = song(shard * SONGS_PER_SHARD + i).tobytes()
                file.write(pcm)
                here.append(second_checksums(pcm))
        keys, counts = [f"song{i:07d}" for i in range(SONGS_PER_SHARD)], np.full(SONGS_PER_SHARD, SONG_LEN)
        order, zeros = np.arange(SONGS_PER_SHARD), np.zeros(SONGS_PER_SHARD, np.uint32)
        index = ShardIndex(keys, order, order * SONG_LEN * 2, counts, zeros, np.concatenate(here), 0, "", "", {})
        data = index_to_bytes(index)
        (folder / f"real-{shard}.index.parquet").write_bytes(data)
        hashes.append(hashlib.sha256(data).hexdigest())
        checksums += here
    return np.concatenate(checksums), hashes


def write_corpus(folder: Path, checksums: np.ndarray, hashes: list[str], num_songs: int) -> str:
    """So many songs in shards of 256 MB, which are names of the real ones; where the corpus lies."""
    out = folder / str(num_songs)
    (out / "shards").mkdir(parents=True)
    num_shards = ceil_div(num_songs, SONGS_PER_SHARD)
    for shard in range(num_shards):
        for end in ("tar", "index.parquet"):
            os.link(folder / f"real-{shard % REAL_SHARDS}.{end}", out / "shards" / f"{shard}.{end}")
    song_N = np.arange(num_songs)
    in_shard_N = song_N % SONGS_PER_SHARD
    empty = pa.array([""] * num_songs)
    songs = {
        "key": pa.array([f"song{i:07d}" for i in range(num_songs)]),
        "artist": pa.array([f"artist{i // 10}" for i in range(num_songs)]),
        "split": pa.array(["train"] * num_songs),
        "order": pa.array(song_N),
        "shard": pa.array((song_N // SONGS_PER_SHARD).astype(np.int32)),
        "offset": pa.array(in_shard_N * SONG_LEN * 2),
        "num_samples": pa.array(np.full(num_songs, SONG_LEN)),
        "crc32": pa.array(np.zeros(num_songs, np.uint32)),
        "crc_start": pa.array(in_shard_N * SECONDS),
        "path": empty,
        "excluded": empty,
    }
    shards = {
        "name": [f"shards/{shard}.tar" for shard in range(num_shards)],
        "split": ["train"] * num_shards,
        "num_songs": np.bincount(song_N // SONGS_PER_SHARD),
        "num_bytes": [SONGS_PER_SHARD * SONG_LEN * 2] * num_shards,
        "sha256": [""] * num_shards,
        "index_sha256": [hashes[shard % REAL_SHARDS] for shard in range(num_shards)],
    }
    real_N = song_N % (SONGS_PER_SHARD * REAL_SHARDS)
    write_manifest(
        *(Store(str(out)), pa.table(songs), np.zeros((num_songs, 50), np.float32), pa.table(shards)),
        *(Vocabulary(tuple(Tag(f"tag{k}") for k in range(50))), {}),
        checksums=checksums.reshape(-1, SECONDS)[real_N].ravel(),
    )
    return str(out)


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


def launch(corpus: str, clips: int, epochs: float = 0.0) -> dict[str, float]:
    """What a new process does, and ``clips`` of the stream after so many epochs."""
    import ray

    _whole_file.cache_clear()
    began, done, first_s = time.perf_counter(), 0, 0.0
    manifest = read_manifest(corpus)
    read = time.perf_counter()
    table = SongTable.of(manifest, manifest.select("train"))
    made = time.perf_counter()
    train = TrainPlan(table.len_N, 0, BATCH, BATCH, CROP_LEN, Uniform(len(table)))
    score = ScorePlan(table.len_N[:2], CROP_LEN, "consecutive", "validation")
    plan = RunPlan(train, score, 10**6, 10**6)
    source = StreamSource({"train": table, "validation": table, "test": table}, plan, score)
    reference = ray.put(source)
    del manifest, table  # a training worker has its source from the object store
    _whole_file.cache_clear()
    stream = GroupStream(source, reference, plan.items(0, 1, int(epochs * train.steps_per_epoch)), 0.5)
    with Peaks() as peaks:
        for group in stream:
            first_s = first_s or time.perf_counter() - began
            done += len(group)
            if done >= clips:
                break
    stream.close()
    return {"first_s": first_s, "manifest_s": read - began, "table_s": made - read, **peaks}


def by_index_s(corpus: str) -> float:
    manifest = replace(read_manifest(corpus), checksums_file=None)
    began = time.perf_counter()
    SongTable.of(manifest, manifest.select("train"))
    return time.perf_counter() - began


def main() -> None:
    settings = {"sizes": "1000,10000,100000,1000000", "clips": "6000"}
    settings |= dict(argument.split("=", 1) for argument in sys.argv[1:])
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, connect(num_cpus=4):
        written = write_shards(Path(folder))
        launch(write_corpus(Path(folder), *written, 999), 1000)  # Ray's processes have started
        for size in map(int, settings["sizes"].split(",")):
            corpus = write_corpus(Path(folder), *written, size)
            found = launch(corpus, int(settings["clips"]))
            time.sleep(5)  # its tasks have ended
            found["resumed_s"] = launch(corpus, BATCH, 2.5)["first_s"]
            found["by_index_s"] = by_index_s(corpus)
            print(
                f"{size:>9,} songs  " + "  ".join(f"{name} {value:,.1f}" for name, value in found.items()), flush=True
            )
            figures |= {f"{name}_{size}": round(value, 2) for name, value in found.items()}
    print(json.dumps({"benchmark": "stream_memory", "figures": figures}))


if __name__ == "__main__":
    main()
