#!/usr/bin/env python
"""Check a sharded corpus against its manifest: missing, extra, truncated and altered files, down to song and second.

python jobs/verify_corpus.py corpus=/data/shards

Exit status 1 where anything is wrong. ``deep=false`` looks at sizes and indexes only.
"""

from __future__ import annotations

from dataclasses import dataclass

from _cli import place, run_job
from omegaconf import MISSING

from genrescale.cluster import connect
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.store import Store
from genrescale.data.tasks import run_tasks
from genrescale.data.verify import verify_manifest, verify_shard
from genrescale.telemetry import Progress


@dataclass
class VerifyCorpusJob:
    corpus: str = MISSING
    store: str = ""
    deep: bool = True
    cpus: int = 0


def check_shard(item: tuple[Manifest, bool]) -> list[str]:
    manifest, deep = item
    return verify_shard(Store(manifest.uri), manifest, 0, deep)


def main(job: VerifyCorpusJob) -> int:
    corpus = place(job.store, job.corpus, "corpus")
    manifest = read_manifest(corpus.uri)
    problems = verify_manifest(manifest)
    num_shards = manifest.shards.num_rows
    items = ((manifest.only_shard(shard), job.deep) for shard in range(num_shards))
    with connect(job.cpus), Progress("verify_corpus", num_shards, "shards") as progress:
        for found in run_tasks(check_shard, items, name="verify_shard"):
            problems += [problem for problem in found if problem not in problems]
            progress.advance(note=f"{len(problems)} problems" if problems else "")
    for problem in sorted(problems):
        print(problem)
    how = "every byte" if job.deep else "sizes and indexes"
    print(f"{corpus.uri}, version {manifest.version}: {num_shards} shards, {how} read, {len(problems)} problems")
    if problems:
        print("To mend it: delete the shards named here, and run jobs/shard_corpus.py again with the settings it had")
    return 1 if problems else 0


if __name__ == "__main__":
    run_job(VerifyCorpusJob, "verify_corpus", main, __doc__)
