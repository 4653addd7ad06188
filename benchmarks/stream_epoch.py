"""One epoch of verified crops through Ray Data at several sizes of one corpus: clips/s, time to the first, and memory.

Memory is the largest resident set that each process had beyond Ray's shared object store: the consumer (a training
worker's place) and the read tasks' processes. python benchmarks/stream_epoch.py corpus=/data/shards sizes=1000,10000
"""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import ray

from genrescale.config import DataConfig, OptimConfig, RunConfig
from genrescale.config.corpus import ShardSettings, SynthesisConfig
from genrescale.config.numbers import ceil_div
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.sharding.synthetic import embedded_corpus
from genrescale.data.stream import GroupStream
from genrescale.launch.cluster import connect
from genrescale.storage.store import Store
from genrescale.training.select import select_data


@contextmanager
def peak_memory() -> Iterator[dict[str, float]]:
    """Largest private memory in MB of this process and of any read process, while the block runs."""
    peak = {"consumer_MB": 0.0, "reader_MB": 0.0}
    done = threading.Event()

    def watch() -> None:
        me = psutil.Process()
        while not done.wait(0.2):
            for name, processes in (("consumer_MB", [me]), ("reader_MB", _readers(me))):
                peak[name] = max([peak[name], *(_private_mb(process) for process in processes)])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def _readers(me: psutil.Process) -> list[psutil.Process]:
    return [
        child for child in me.children(recursive=True) if "ReadCrops" in child.name() or "ray::Read" in child.name()
    ]


def _private_mb(process: psutil.Process) -> float:
    try:
        memory = process.memory_info()
    except psutil.Error:
        return 0.0
    return (memory.rss - memory.shared) / 1e6


def epoch(manifest: Manifest, size: int) -> dict[str, float]:
    steps = ceil_div(size, 16)
    run = RunConfig(
        data=DataConfig(size=size, crop_s=3.0, batch=16, group=16),
        optim=OptimConfig(max_steps=steps, validate_every=10 * steps),
    )
    begun = time.perf_counter()
    source = select_data(run, manifest).source()
    reference = ray.put(source)
    items = (item for item in source.plan.items(0, 1) if item.kind == "train")
    clips, first = 0, 0.0
    with peak_memory() as peak:
        for group in GroupStream(source, reference, items, 1.0):
            first = first or time.perf_counter()
            clips += len(group)
    ended = time.perf_counter()
    assert clips == size
    return {"clips_per_s": clips / (ended - first), "first_s": first - begun, **peak}


def main() -> None:
    settings = dict(argument.split("=", 1) for argument in sys.argv[1:])
    sizes = [int(size) for size in settings.get("sizes", "200,1000").split(",")]
    with tempfile.TemporaryDirectory() as folder, connect():
        corpus = settings.get("corpus")
        if corpus is None:
            shards = ShardSettings(songs_per_shard=128, val_fraction=0.02, test_fraction=0.02)
            embedded_corpus(Store(folder), SynthesisConfig(songs=max(sizes) * 11 // 10, min_s=3.0, max_s=3.2), shards)
            corpus = Store(folder).child("shards").uri
        manifest = read_manifest(corpus)
        found = {size: epoch(manifest, size) for size in sizes}
    figures = {f"{name}_{size}": round(value, 2) for size, values in found.items() for name, value in values.items()}
    for size, values in found.items():
        print(f"{size:>8,} songs  " + "  ".join(f"{name} {value:,.1f}" for name, value in values.items()))
    print(json.dumps({"benchmark": "stream_epoch", "figures": figures}))


if __name__ == "__main__":
    main()
