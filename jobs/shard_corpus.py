#!/usr/bin/env python
"""Shard a corpus: encoded songs -> 16 kHz mono WebDataset shards, their checksums and the manifest.

python jobs/shard_corpus.py corpus=folder audio=/music out=/data/shards

It may be killed at any moment: the same command continues. About 10 songs of 30 s per second and core (MP3).
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, fields

from _shard_cli import run_job
from omegaconf import MISSING

from genrescale.audio import len_to_seconds
from genrescale.cluster import connect
from genrescale.data.corpora import list_songs
from genrescale.data.shard_job import FailureBudgetError, ShardingResult, write_corpus
from genrescale.data.shard_plan import ShardSettings, fix_plan
from genrescale.data.store import Store


@dataclass
class ShardCorpusJob(ShardSettings):
    corpus: str = "folder"
    audio: str = MISSING
    out: str = MISSING
    columns: dict[str, str] | None = None
    retry_quarantined: bool = False
    cpus: int = 0


def main(job: ShardCorpusJob) -> int:
    settings = ShardSettings(**{entry.name: getattr(job, entry.name) for entry in fields(ShardSettings)})
    songs, vocabulary = list_songs(job.corpus, job.audio, **({"columns": job.columns} if job.columns else {}))
    plan = fix_plan(songs, vocabulary, settings, Store(job.out))
    try:
        with connect(job.cpus):
            print_summary(write_corpus(plan, Store(job.out), job.retry_quarantined))
    except FailureBudgetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def print_summary(result: ShardingResult) -> None:
    manifest = result.manifest
    splits = ", ".join(f"{count} {split}" for split, count in Counter(manifest.songs["split"].to_pylist()).items())
    hours = len_to_seconds(int(manifest.column("num_samples").sum())) / 3600
    num_bytes = sum(manifest.shards["num_bytes"].to_pylist())
    print(f"{manifest.uri}, version {manifest.version}: {len(manifest)} songs ({splits}), {hours:.2f} hours")
    print(f"{manifest.shards.num_rows} shards, {num_bytes:,} bytes; {result.written} written, {result.skipped} found")
    print(
        f"{len(result.quarantined)} songs in quarantine"
        + "".join(f"\n  {s.path}: {s.reason}" for s in result.quarantined[:5])
    )
    if result.overlap is not None:
        print(f"official splits: {result.overlap}")


if __name__ == "__main__":
    run_job(ShardCorpusJob, "shard_corpus", main)
