"""Planning a corpus before any audio is read: seconds and peak memory for a table of a million songs.

The songs have 50 tags, about two each, and 100,000 artists. Read: the table. Plan: splits, nested order, shards and the
plan file. Manifest: its two tables, as if every song had been sharded. python benchmarks/plan_corpus.py songs=1000000
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import list_songs
from genrescale.data.index import first_checksums
from genrescale.data.manifest import SHARD_SCHEMA, SONG_SCHEMA, write_manifest
from genrescale.data.sharding.plan import ShardPlan
from genrescale.data.sharding.plan_file import fix_plan
from genrescale.storage.store import Store

NUM_TAGS = 50
CLIP_LEN = 480_000


def write_table(path: Path, num_songs: int) -> None:
    rng = np.random.default_rng(0)
    share_K = 0.25 / np.arange(1, NUM_TAGS + 1) ** 0.7
    names = np.array([f"tag {k:02d}" for k in range(NUM_TAGS)])
    labels = []
    for low in range(0, num_songs, 100_000):
        has_NK = rng.random((min(100_000, num_songs - low), NUM_TAGS)) < share_K
        has_NK[np.arange(len(has_NK)), rng.integers(0, NUM_TAGS, len(has_NK))] = True
        labels += ["|".join(names[row]) for row in has_NK]
    table = {
        "path": [f"music/{i // 1000:04d}/{i:07d}.mp3" for i in range(num_songs)],
        "labels": labels,
        "artist": [f"artist {a}" for a in rng.zipf(1.4, num_songs) % (num_songs // 10)],
    }
    pyarrow.csv.write_csv(pa.table(table), path)


def write_tables(plan: ShardPlan, out: Store) -> None:
    """The manifest of a corpus whose every song is a clip of 30 s."""
    num_songs, shards = len(plan.songs), plan.shards()
    num_samples, rng = np.full(num_songs, CLIP_LEN), np.random.default_rng(0)
    columns = {
        "key": pa.array([song.key for song in plan.songs]),
        "artist": pa.array([song.artist for song in plan.songs]),
        "split": pa.array(plan.split),
        "order": pa.array(plan.order),
        "shard": pa.array(np.concatenate([np.full(r.stop - r.start, i) for i, (*_, r) in enumerate(shards)])),
        "offset": pa.array(np.arange(num_songs) * 2 * CLIP_LEN),
        "num_samples": pa.array(num_samples),
        "crc32": pa.array(rng.integers(0, 2**32, num_songs).astype(np.uint32)),
        "crc_start": pa.array(first_checksums(num_samples)),
        "path": pa.array([song.path for song in plan.songs]),
        "excluded": pa.array([""] * num_songs),
    }
    texts = {name: pa.array([name] * len(shards)) for name in ("sha256", "index_sha256")}
    sizes = {name: pa.array([r.stop - r.start for *_, r in shards]) for name in ("num_songs", "num_bytes")}
    names = {"name": pa.array([name for name, *_ in shards]), "split": pa.array([split for _, split, _ in shards])}
    tables = pa.table(columns).cast(SONG_SCHEMA), pa.table(names | sizes | texts).select(SHARD_SCHEMA.names)
    write_manifest(out, tables[0], plan.labels_NK, tables[1], plan.vocabulary, plan.settings.of_plan())


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@contextmanager
def measured(name: str, figures: dict[str, float]) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    figures |= {f"{name}_s": round(time.perf_counter() - begun, 2), f"{name}_peak_gib": round(peak_gib(), 2)}
    print(f"{name:>9}: {figures[f'{name}_s']:6.1f} s, peak so far {figures[f'{name}_peak_gib']:.2f} GiB")


def main() -> None:
    settings = dict(argument.split("=", 1) for argument in sys.argv[1:])
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder, "songs.csv"), Store(f"{folder}/shards")
        writing = multiprocessing.get_context("spawn").Process(
            target=write_table, args=(table, int(settings.get("songs", 1_000_000)))
        )
        writing.start()
        writing.join()
        print(f"before: {peak_gib():.2f} GiB")
        settings_of_plan = ShardSettings(songs_per_shard=256)
        with measured("read", figures):
            songs, vocabulary = list_songs("table", str(table))
        with measured("plan", figures):
            plan = fix_plan(songs, vocabulary, settings_of_plan, out)
        with measured("digests", figures):
            for *_, rows in plan.shards():
                plan.digest(rows)
        del plan  # a job that continues never had it
        with measured("again", figures):
            plan = fix_plan(songs, vocabulary, settings_of_plan, out)
        with measured("manifest", figures):
            write_tables(plan, out)
    figures["total_s"] = round(sum(figures[f"{name}_s"] for name in ("plan", "digests", "manifest")), 1)
    print(json.dumps({"benchmark": "plan_corpus", "figures": figures}))


if __name__ == "__main__":
    main()
