#!/usr/bin/env python
"""Synthesise a corpus of procedural songs as MP3, FLAC and OGG files with their table of tags.

python jobs/synthesize_corpus.py out=/data/synthetic songs=10000

More songs later continue the corpus: song i is the same in a corpus of any size. It can be killed and run again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from _cli import place_out, run_job
from omegaconf import MISSING

from genrescale.config.corpus import SynthesisConfig
from genrescale.config.telemetry import TelemetryConfig
from genrescale.launch.cluster import connect
from genrescale.telemetry.terminal import say


@dataclass
class SynthesizeCorpusJob(SynthesisConfig):
    out: str = MISSING
    store: str = ""
    cpus: int = 0
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)


def main(job: SynthesizeCorpusJob) -> None:
    from genrescale.data.sharding.synthetic import synthesize_corpus
    from genrescale.launch.telemetry import serving
    from genrescale.storage.lease import writing

    out = place_out(job.store, job.out, "out")
    with writing(out, "synthesize_corpus"), connect(job.cpus), serving(job.telemetry, out):
        synthesize_corpus(out, job)
    say(f"{job.songs} songs in {out.uri}; shard them: jobs/shard_corpus.py corpus=synthetic audio={out.uri} out=...")


if __name__ == "__main__":
    run_job(SynthesizeCorpusJob, "synthesize_corpus", main, __doc__)
