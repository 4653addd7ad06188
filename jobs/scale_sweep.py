#!/usr/bin/env python
"""The scale sweep: how waveform and spectrogram models improve with the number of songs they are trained on.

python jobs/scale_sweep.py corpus=/data/shards sizes=[1000,10000,100000] out=/data/sweep
python jobs/scale_sweep.py sweep=demo out=demo              (no corpus needed: songs are synthesised)
ray job submit --working-dir . -- jobs/scale_sweep.py store=s3://music corpus=shards out=sweep sizes=[...]
python jobs/scale_sweep.py sweep=demo out=demo search.algorithm=asha "search.space.lr=log(1e-4,1e-1)"

Relative addresses lie below ``store``, a folder or bucket. dry_run=true lists the trials, what they cost and read. The
same command continues an interrupted sweep; a change that would run finished runs anew is shown and needs rerun=true.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace

from _cli import EXIT_INTERRUPTED, place, place_out, run_job
from _idle import refuse_idle
from _on_ray import OnRay

from genrescale.config import SiteConfig
from genrescale.config.corpus import ShardSettings, SynthesisConfig
from genrescale.config.sweep import SweepConfig
from genrescale.launch.cluster import check_gpu, nodes_ahead
from genrescale.telemetry.terminal import say


@dataclass
class ScaleSweepJob(SweepConfig, OnRay):
    store: str = ""
    corpus: str = ""
    out: str = "scale_sweep"
    dry_run: bool = False
    rerun: bool = False
    site: SiteConfig = field(default_factory=SiteConfig)
    synthesis: SynthesisConfig | None = None
    shards: ShardSettings = field(default_factory=ShardSettings)


def main(job: ScaleSweepJob) -> int:
    from genrescale.data.manifest import read_manifest
    from genrescale.data.sharding.synthetic import embedded_corpus
    from genrescale.launch.search.stages import plan_sweep
    from genrescale.launch.sweep import check_families
    from genrescale.report import live_report, report_sweep
    from genrescale.storage.lease import writing

    check_families(job)
    if not job.corpus and job.synthesis is None:
        raise ValueError("corpus= is needed: a folder made by jobs/shard_corpus.py; sweep=demo synthesises one instead")
    files = place_out(job.store, job.out, "out")
    corpus = place(job.store, job.corpus, "corpus") if job.corpus else files.child("shards")
    site = replace(job.site, corpus=corpus.uri, out=files.uri)
    if job.dry_run and not corpus.exists("manifest.json"):
        say(f"{job.synthesis} would be synthesised and sharded into {files.uri} first; then the runs can be listed")
        return 0
    check_gpu(site.use_gpu and not job.dry_run, "site.use_gpu")
    plan = plan_sweep(job, site, read_manifest(corpus.uri)) if job.corpus or job.dry_run else None
    if plan and job.dry_run:
        say(plan.listed(nodes_ahead(job.cpus)))
        return 0
    say("[scale_sweep] connecting to Ray", sys.stderr)
    with writing(files, "scale_sweep"), job.connected(files, trains=True):
        if plan is None:
            embedded_corpus(files, job.synthesis or SynthesisConfig(), job.shards)
            plan = plan_sweep(job, site, read_manifest(corpus.uri))
        plan.refuse_outdated(job.rerun)
        with live_report(files):
            ended = plan.run(job.rerun)
        say(report_sweep(files))
    say(f"{ended}\nresults in {files.child('runs').uri}")
    return EXIT_INTERRUPTED if ended.unfinished else int(ended.failed)


if __name__ == "__main__":
    run_job(ScaleSweepJob, "scale_sweep", main, __doc__, check=refuse_idle)
