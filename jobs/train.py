#!/usr/bin/env python
"""One run: train a model on a sharded corpus, score it on the test songs, write its result row.

python jobs/train.py site.corpus=/data/shards site.out=/data/runs run.model.name=spectrogram run.data.size=10000

A run is named by its science and data: the same settings are not trained twice, and an interrupted run continues from
its last checkpoint, also on another number of workers at ZeRO stage 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from _cli import run_job

from genrescale.cluster import connect
from genrescale.config import RunConfig, SiteConfig
from genrescale.train import launch_training


@dataclass
class TrainJob:
    run: RunConfig = field(default_factory=RunConfig)
    site: SiteConfig = field(default_factory=SiteConfig)
    cpus: int = 0


def main(job: TrainJob) -> None:
    if not (job.site.corpus and job.site.out):
        raise ValueError("site.corpus= (made by jobs/shard_corpus.py) and site.out= are needed")
    with connect(job.cpus):
        row = launch_training(job.run, job.site)
    scores = {name: getattr(row, name) for name in ("roc_auc", "pr_auc", "rmse", "accuracy")}
    text = "  ".join(f"{name} {value:.4f}" for name, value in scores.items() if value is not None)
    print(f"run {row.run_id}: {text}  on {row.test_songs} test songs; best at step {row.best_step} of {row.steps}")


if __name__ == "__main__":
    run_job(TrainJob, "train", main, __doc__)
