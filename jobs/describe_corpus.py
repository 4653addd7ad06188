#!/usr/bin/env python
"""Look at a sharded corpus: labels, splits, durations, loudness, clips to hear and the quarantine, as one HTML page.

python jobs/describe_corpus.py corpus=/data/shards

The page (describe.html, below 10 MB, in the corpus or in the folder out=...) opens without a network.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from _cli import place, place_out, run_job
from _on_ray import OnRay
from omegaconf import MISSING

from genrescale.telemetry.progress import Progress
from genrescale.telemetry.stages import shards_done, stage_begins
from genrescale.telemetry.terminal import say


@dataclass
class DescribeCorpusJob(OnRay):
    corpus: str = MISSING
    out: str = ""
    store: str = ""
    seed: int = 0
    loudness_songs: int = 400
    labels: int = 30
    clips: int = 2
    clip_s: float = 3.0


def main(job: DescribeCorpusJob) -> None:
    from genrescale.data.manifest import read_manifest
    from genrescale.data.tasks import run_tasks
    from genrescale.data.upkeep.mix import refuse_mix
    from genrescale.describe.reading import DescribeSettings, choose_clips, choose_loudness, hear_shard, plan_reads
    from genrescale.describe.words import describe_text

    settings = DescribeSettings(**{field.name: getattr(job, field.name) for field in fields(DescribeSettings)})
    corpus = place(job.store, job.corpus, "corpus")
    out = place_out(job.store, job.out or job.corpus, "out")
    manifest = read_manifest(corpus.uri)
    refuse_mix(manifest, "describe")
    from genrescale.describe.page import render_page, write_page  # PyTorch, which a refused job does not need

    loudness, clips = choose_loudness(manifest, settings), choose_clips(manifest, settings)
    reads, heard = plan_reads(manifest, loudness, clips, settings), []
    with job.connected(corpus), Progress("describe_corpus", len(reads), "shards") as progress:
        stage_begins("describe_corpus", len(reads))
        for answer in run_tasks(hear_shard, reads, name="hear_shard"):
            heard.append(answer)
            shards_done("describe_corpus", 1)
            progress.advance()
    say(describe_text(manifest))
    say(write_page(out, render_page(manifest, settings, loudness, clips, heard), manifest))


if __name__ == "__main__":
    run_job(DescribeCorpusJob, "describe_corpus", main, __doc__)
