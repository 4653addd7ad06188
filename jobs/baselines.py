#!/usr/bin/env python
"""Baselines of a corpus: what is scored without a network, on the songs of runs of the same sizes.

python jobs/baselines.py corpus=/data/shards out=/data/sweep sizes=[1000,10000] baselines.trees=true
python jobs/baselines.py corpus=/data/shards out=/data/sweep sizes=[1000] +baselines.embeddings.musicnn=best_model.pth

The linear floor takes seconds beside the reading of the audio, the boosted trees of Pons 2018 minutes; no GPU is
needed. Features are kept beside the corpus, and a finished baseline is not trained again. A report of ``out`` shows
them beside its runs; a sweep trains the floor by itself. dry_run=true tells what they hold in memory. Relative
addresses lie below ``store``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from _cli import place, place_out, run_job
from _on_ray import OnRay
from omegaconf import MISSING

from genrescale.config import DataConfig
from genrescale.config.baselines import BaselinesConfig
from genrescale.telemetry.terminal import say


@dataclass
class BaselinesJob(OnRay):
    corpus: str = MISSING
    out: str = MISSING
    sizes: list[int] = MISSING
    seed: int = 0
    val_songs: int = 0
    labels: str = "true"
    baselines: BaselinesConfig = field(default_factory=BaselinesConfig)
    store: str = ""
    dry_run: bool = False


def main(job: BaselinesJob) -> int:
    from genrescale.data.manifest import read_manifest
    from genrescale.launch.baselines import memory_lines, train_baselines
    from genrescale.report import report_sweep
    from genrescale.storage.lease import writing

    corpus, files = place(job.store, job.corpus, "corpus"), place_out(job.store, job.out, "out")
    manifest = read_manifest(corpus.uri)
    if not job.sizes:
        raise ValueError("sizes=[...] are numbers of train songs, such as sizes=[1000]")
    data = DataConfig(val_songs=job.val_songs, labels=job.labels)
    if job.dry_run:
        for line in memory_lines(job.baselines, max(job.sizes), data, manifest):
            say(line)
        return 0
    with writing(files, "baselines") as lease, job.connected(files):
        ended = train_baselines(job.baselines, job.sizes, data, job.seed, manifest, files, lease.claim)
        say(report_sweep(files))
    say(f"{len(ended.rows)} baselines, {ended.reused} of them from before; {len(ended.failures)} failed")
    return int(bool(ended.failures))


if __name__ == "__main__":
    run_job(BaselinesJob, "baselines", main, __doc__)
