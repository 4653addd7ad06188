#!/usr/bin/env python
"""One run: train a model on a sharded corpus, score it on the test songs, write its result row.

python jobs/train.py site.corpus=/data/shards site.out=/data/runs run.model.name=spectrogram run.data.size=10000

A run is named by its science and data: the same settings are not trained twice, and an interrupted run continues from
its last checkpoint, also on another number of workers at ZeRO stage 0. ``run.init.run=ID`` starts from a finished
run of ``site.out``, or of ``site.parents``. Relative addresses lie below ``store``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from _cli import place, place_out, run_job
from _on_ray import OnRay

from genrescale.config import RunConfig, SiteConfig
from genrescale.config.metrics import ROW_METRICS
from genrescale.launch.cluster import check_gpu
from genrescale.telemetry.terminal import say


@dataclass
class TrainJob(OnRay):
    run: RunConfig = field(default_factory=RunConfig)
    site: SiteConfig = field(default_factory=SiteConfig)
    store: str = ""


def main(job: TrainJob) -> int:
    from genrescale.data.manifest import read_manifest
    from genrescale.launch.listing import foretell
    from genrescale.launch.sweep import only_trainer, plan_trial, run_trials, tell_doubts
    from genrescale.report import live_report, report_sweep
    from genrescale.results import read_result, run_folder

    if not (job.site.corpus and job.site.out):
        raise ValueError("site.corpus= (made by jobs/shard_corpus.py) and site.out= are needed")
    corpus, files = place(job.store, job.site.corpus, "site.corpus"), place_out(job.store, job.site.out, "site.out")
    parents = place(job.store, job.site.parents, "site.parents").uri if job.site.parents else ""
    site = replace(job.site, corpus=corpus.uri, out=files.uri, parents=parents)
    check_gpu(site.use_gpu, "site.use_gpu")
    manifest = read_manifest(site.corpus)
    trial = plan_trial(job.run, site, manifest, job.run.data.size)
    tell_doubts([trial.run], manifest)
    report = {"compared": trial.planned, "folder": run_folder(trial.run_id)}
    with (
        only_trainer(files, trial.run_id) as lease,
        job.connected(files, trains=True),
        live_report(files, **report),
    ):
        foretell([trial], site)
        failures = run_trials([trial], site, lease.claim, "train")
    row = read_result(files, trial.run_id)
    if row is None:
        say(f"run {trial.run_id}: {failures.get(trial.run_id, 'stopped; the same command continues')}")
        return 1
    if row.fresh_weights:
        say(f"weights that run {trial.run.init.run} did not give: {', '.join(row.fresh_weights)}")
    scores = {name: getattr(row, name) for name in ROW_METRICS} | row.pretext
    text = "  ".join(f"{name} {value:.4f}" for name, value in scores.items() if value is not None)
    say(report_sweep(files, **report))
    say(f"run {row.run_id}: {text}  on {row.test_songs} test songs; best at step {row.best_step} of {row.steps}")
    return 0


if __name__ == "__main__":
    run_job(TrainJob, "train", main, __doc__)
