#!/usr/bin/env python
"""Check a sharded corpus against its manifest: missing, extra, truncated and altered files, down to song and second.

python jobs/verify_corpus.py corpus=/data/shards                         every byte; exit status 1 if anything is wrong
python jobs/verify_corpus.py corpus=/data/shards sample=20               20 seeded shards; deep=false: sizes and indexes
python jobs/verify_corpus.py corpus=/data/shards rebuild=true            write lost indexes anew from intact shards
python jobs/verify_corpus.py corpus=/data/shards inspect=train-000003    one shard, or one song by its key

It also names songs whose labels differ between shard and manifest, and songs with the same audio.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from _cli import place, run_job
from _on_ray import OnRay
from omegaconf import MISSING

from genrescale.telemetry.terminal import say


@dataclass
class VerifyCorpusJob(OnRay):
    corpus: str = MISSING
    store: str = ""
    deep: bool = True
    sample: int = 0
    seed: int = 0
    rebuild: bool = False
    inspect: str = ""


def main(job: VerifyCorpusJob) -> int:
    from genrescale.data.manifest import read_manifest
    from genrescale.data.upkeep.inspect import inspect, shows_problem
    from genrescale.data.upkeep.mix import refuse_mix
    from genrescale.data.upkeep.verify import sample_shards
    from genrescale.data.upkeep.verify_corpus import verify_corpus
    from genrescale.storage.lease import writing

    corpus = place(job.store, job.corpus, "corpus")
    manifest = read_manifest(corpus.uri)
    refuse_mix(manifest, "verify")
    if job.inspect:
        lines = list(inspect(manifest, job.inspect))
        say("\n".join(lines))
        return int(shows_problem(lines))
    shards = sample_shards(manifest.shards.num_rows, job.sample, job.seed)
    with ExitStack() as stack:
        if job.rebuild:
            stack.enter_context(writing(corpus, "verify_corpus"))
            manifest = read_manifest(corpus.uri)  # no other job writes from here on
        stack.enter_context(job.connected(corpus))
        found = verify_corpus(manifest, shards, job.deep, job.rebuild)
    for line in found.lines():
        say(line)
    return 1 if found.problems else 0


if __name__ == "__main__":
    run_job(VerifyCorpusJob, "verify_corpus", main, __doc__)
