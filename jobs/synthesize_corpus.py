#!/usr/bin/env python
"""Synthesise a corpus of procedural songs as MP3, FLAC and OGG files with their table of tags.

python jobs/synthesize_corpus.py out=/data/synthetic songs=10000

More songs later continue the corpus: song i is the same in a corpus of any size. It can be killed and run again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from _cli import place_out, run_job
from _on_ray import OnRay
from omegaconf import MISSING

from genrescale.config.corpus import SynthesisConfig
from genrescale.telemetry.terminal import say


@dataclass
class SynthesizeCorpusJob(SynthesisConfig, OnRay):
    out: str = MISSING
    store: str = ""


def main(job: SynthesizeCorpusJob) -> None:
    from genrescale.data.sharding.synthetic import synthesize_corpus
    from genrescale.storage.lease import writing

    out = place_out(job.store, job.out, "out")
    # sent to other processes, which do not know this file's class
    config = SynthesisConfig(**{entry.name: getattr(job, entry.name) for entry in fields(SynthesisConfig)})
    with writing(out, "synthesize_corpus"), job.connected(out):
        synthesize_corpus(out, config)
    say(f"{job.songs} songs in {out.uri}; shard them: jobs/shard_corpus.py corpus=synthetic audio={out.uri} out=...")


if __name__ == "__main__":
    run_job(SynthesizeCorpusJob, "synthesize_corpus", main, __doc__)
