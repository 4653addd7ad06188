#!/usr/bin/env python
"""Check a sharded corpus against its manifest: missing, extra, truncated and altered files, down to song and second.

python jobs/verify_corpus.py corpus=/data/shards                         every byte; exit status 1 if anything is wrong
python jobs/verify_corpus.py corpus=/data/shards sample=20               20 seeded shards; deep=false: sizes and indexes
python jobs/verify_corpus.py corpus=/data/shards rebuild=true            write lost indexes anew from intact shards
python jobs/verify_corpus.py corpus=/data/shards inspect=train-000003    one shard, or one song by its key

It also names songs whose labels differ between shard and manifest, and songs with the same audio.
"""

from __future__ import annotations

from dataclasses import dataclass

from _cli import place, run_job
from omegaconf import MISSING

from genrescale.data.manifest import read_manifest, with_indexes
from genrescale.data.sharding.duplicates import find_duplicates
from genrescale.data.tasks import run_tasks
from genrescale.data.upkeep.inspect import inspect, shows_problem
from genrescale.data.upkeep.mix import refuse_mix
from genrescale.data.upkeep.verify import (
    check_shard,
    remedies,
    sample_shards,
    shard_checks,
    verify_exclusions,
    verify_manifest,
)
from genrescale.launch.cluster import connect
from genrescale.telemetry.progress import Progress


@dataclass
class VerifyCorpusJob:
    corpus: str = MISSING
    store: str = ""
    deep: bool = True
    sample: int = 0
    seed: int = 0
    rebuild: bool = False
    inspect: str = ""
    cpus: int = 0


def main(job: VerifyCorpusJob) -> int:
    manifest = read_manifest(place(job.store, job.corpus, "corpus").uri)
    refuse_mix(manifest, "verify")
    if job.inspect:
        lines = list(inspect(manifest, job.inspect))
        print("\n".join(lines))
        return int(shows_problem(lines))
    chosen = sample_shards(manifest.shards.num_rows, job.sample, job.seed)
    problems, rebuilt = set(), {}
    items = shard_checks(manifest, chosen, job.deep, job.rebuild)
    with connect(job.cpus), Progress("verify_corpus", len(chosen), "shards") as progress:
        for done in run_tasks(check_shard, items, name="verify_shard"):
            problems.update(done.problems)
            rebuilt |= {done.shard: done.index_sha256} if done.index_sha256 else {}
            progress.advance(note=f"{len(problems)} problems" if problems else "")
    for shard in sorted(rebuilt):
        print(f"{manifest.shard_name(shard)}: its index was rebuilt")
    manifest = with_indexes(manifest, rebuilt)
    problems.update(verify_manifest(manifest))
    problems.update(verify_exclusions(manifest))
    for copies in find_duplicates(manifest):
        print(f"note: {copies}")
    for problem in sorted(problems, key=str):
        print(problem)
    how = "every byte" if job.deep else "sizes and indexes"
    of = f" of {manifest.shards.num_rows}" if len(chosen) < manifest.shards.num_rows else ""
    print(f"{manifest.uri}, version {manifest.version}: {len(chosen)}{of} shards, {how} read, {len(problems)} problems")
    for remedy in remedies(problems):
        print(f"To mend it: {remedy}")
    return 1 if problems else 0


if __name__ == "__main__":
    run_job(VerifyCorpusJob, "verify_corpus", main, __doc__)
