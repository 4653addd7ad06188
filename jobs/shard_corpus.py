#!/usr/bin/env python
"""Shard a corpus: encoded songs -> 16 kHz mono WebDataset shards, their checksums and the manifest.

python jobs/shard_corpus.py corpus=folder audio=/music out=/data/shards
python jobs/shard_corpus.py corpus=fma audio=/data/fma +options.subset=medium out=/data/shards
python jobs/shard_corpus.py corpus=table audio=songs.csv out=/data/shards append=true    songs that were added since

It may be killed at any moment: the same command continues. For songs that have to go: jobs/take_down.py.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from typing import Any

from _cli import place, place_out, run_job
from _on_ray import OnRay
from omegaconf import MISSING

from genrescale.config.corpus import ShardSettings, TableColumns
from genrescale.telemetry.progress import Waiting
from genrescale.telemetry.terminal import say


@dataclass
class ShardCorpusJob(ShardSettings, OnRay):
    corpus: str = "folder"
    audio: str = MISSING
    out: str = MISSING
    store: str = ""
    columns: TableColumns = field(default_factory=TableColumns)
    options: dict[str, Any] = field(default_factory=dict)
    retry_quarantined: bool = False
    append: bool = False


def main(job: ShardCorpusJob) -> None:
    from genrescale.data.corpora import list_corpus
    from genrescale.data.sharding.job import write_corpus
    from genrescale.data.sharding.plan_file import fix_plan
    from genrescale.data.sharding.related import related_lines
    from genrescale.describe.words import describe_text
    from genrescale.storage.lease import writing

    settings = ShardSettings(**{entry.name: getattr(job, entry.name) for entry in fields(ShardSettings)})
    renamed = job.columns.renamed()
    audio = place(job.store, job.audio, "audio").uri
    out = place_out(job.store, job.out, "out")
    with ExitStack() as cluster:
        with Waiting("shard_corpus", "listing the songs") as waiting:
            listing = list_corpus(job.corpus, audio, **({"columns": renamed} if renamed else {}) | job.options)
            cluster.enter_context(writing(out, "shard_corpus"))
            waiting.note(f"planning {len(listing.songs):,} songs")
            plan = fix_plan(listing.songs, listing.vocabulary, settings, out, job.append, listing.rejected)
            waiting.note("connecting to Ray")
            cluster.enter_context(job.connected(out))
        for line in related_lines(plan):
            say(f"note: {line}")
        result = write_corpus(plan, out, job.retry_quarantined)
    result.check_given(entry.key for entry in (*listing.songs, *listing.rejected))
    account = [listing.passed.account()] if listing.passed.found else []
    say(describe_text(result.manifest))
    say("\n".join([*account, result.summary(), *listing.lines()]))


if __name__ == "__main__":
    run_job(ShardCorpusJob, "shard_corpus", main, __doc__)
