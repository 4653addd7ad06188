"""Songs per second of a tagged corpus (jobs/tag.py, on Ray) beside those of the model alone on as many cores.

The model alone: as many processes as cores, one thread each, that tag songs which lie decoded in memory; nothing is
read, verified or written. The corpus: the same songs in shards, through ``tag_corpus`` on a private Ray. Its figure is
of the songs after the first tenth, which pays for starting the actors; ``whole_songs_per_s`` counts that, too, but not
the start of Ray itself. python benchmarks/tag.py [SONGS [SECONDS]]
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.synchronize import Barrier

import numpy as np
import torch

from genrescale.audio import Clip, Vocabulary
from genrescale.config.corpus import ShardSettings, SynthesisConfig
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.reading.crops import SongTable, read_crops
from genrescale.data.sharding.synthetic import embedded_corpus
from genrescale.export import Exported, ModelSpec
from genrescale.launch.cluster import connect
from genrescale.models import build_model
from genrescale.storage.store import Store
from genrescale.tagging.corpus import tag_corpus
from genrescale.tagging.scores import SongTags, tag_clip

DIALS = {"frontend_width": 0.25, "backend_filters": 64, "backend_units": 100}
SPEC = ModelSpec("spectrogram", DIALS, crop_s=3.0, scoring="consecutive", loss="bce")
SONGS, SECONDS = 1200, 12.0
_ALONE = 200  # songs of each process


def model_of(vocabulary: Vocabulary) -> Exported:
    torch.manual_seed(0)
    return Exported(build_model(SPEC.model, len(vocabulary), **DIALS).eval(), vocabulary, SPEC)


def alone(start: Barrier, rates: multiprocessing.Queue[float], uri: str) -> None:
    """Tag songs that lie in memory, beside as many other processes as there are cores."""
    torch.set_num_threads(1)
    manifest = read_manifest(uri)
    exported, table = model_of(manifest.vocabulary), SongTable.of(manifest, np.arange(_ALONE))
    clips = [
        Clip(str(n), read_crops(table, np.array([n]), np.array([0]), int(table.len_N[n]))[0]) for n in range(_ALONE)
    ]
    tag_clip(exported, clips[0])
    start.wait()
    began = time.perf_counter()
    for clip in clips:
        tag_clip(exported, clip)
    rates.put(_ALONE / (time.perf_counter() - began))


def alone_rate(uri: str, cores: int) -> float:
    context = multiprocessing.get_context("spawn")
    start, rates = context.Barrier(cores), context.Queue()
    workers = [context.Process(target=alone, args=(start, rates, uri)) for _ in range(cores)]
    for worker in workers:
        worker.start()
    rate = sum(rates.get() for _ in workers)
    for worker in workers:
        worker.join()
    return rate


def corpus_rates(manifest: Manifest) -> tuple[float, float]:
    """Songs per second after the first tenth, and of all."""
    exported, moments = model_of(manifest.vocabulary), []
    with connect(len(os.sched_getaffinity(0))):
        began = time.perf_counter()
        for result in tag_corpus(exported, manifest):
            assert isinstance(result, SongTags), result
            moments.append(time.perf_counter() - began)
    first = len(moments) // 10
    return (len(moments) - 1 - first) / (moments[-1] - moments[first]), len(moments) / moments[-1]


def main() -> None:
    songs = int(sys.argv[1]) if len(sys.argv) > 1 else SONGS
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        files = Store(folder)
        with connect():
            embedded_corpus(files, SynthesisConfig(songs=songs, min_s=seconds, max_s=seconds), ShardSettings())
        manifest = read_manifest(files.child("shards").uri)
        before = alone_rate(manifest.uri, cores)
        steady, whole = corpus_rates(manifest)
        after = alone_rate(manifest.uri, cores)
    model = (before + after) / 2
    figures = {
        "model_songs_per_s": model,
        "model_songs_per_s_before": before,
        "model_songs_per_s_after": after,
        "corpus_songs_per_s": steady,
        "whole_songs_per_s": whole,
        "ratio": steady / model,
    }
    for name, value in figures.items():
        print(f"{name:>24} {value:8.2f}")
    print(json.dumps({"benchmark": "tag", "figures": {name: round(v, 3) for name, v in figures.items()}}))


if __name__ == "__main__":
    main()
