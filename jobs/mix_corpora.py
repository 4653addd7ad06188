#!/usr/bin/env python
"""Several sharded corpora as one to train on; nothing is copied. The first has the tags, and the songs to score on.

python jobs/mix_corpora.py "corpora=[/data/jamendo,/data/music4all]" out=/data/both
python jobs/train.py site.corpus=/data/both run.data.sampler=mixture "run.data.weights=[3,1]" ...

Run it again after songs were added to a corpus or taken down. Without weights every song counts the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from _cli import place, run_job
from omegaconf import MISSING

from genrescale.telemetry.terminal import say


@dataclass
class MixCorporaJob:
    corpora: list[str] = MISSING
    out: str = MISSING
    store: str = ""


def main(job: MixCorporaJob) -> None:
    from genrescale.data.manifest import read_manifest
    from genrescale.data.upkeep.mix import mix_corpora

    manifests = [read_manifest(place(job.store, corpus, "corpora").uri) for corpus in job.corpora]
    mix, left_out = mix_corpora(manifests, place(job.store, job.out, "out"))
    for corpus in left_out:
        for why, count in corpus.songs.items():
            if count:
                say(f"{corpus.uri}: {count:,} train songs left out: {why}")
        if corpus.tags:
            say(f"{corpus.uri}: tags left out, as the first has not got them: {', '.join(corpus.tags)}")
    part_N = mix.part_N()[mix.select("train")]
    for number, manifest in enumerate(manifests):
        say(f"{manifest.uri}: {(part_N == number).sum():,} of {len(part_N):,} train songs")
    say(f"{mix.uri}, version {mix.version}: train on it with site.corpus={mix.uri}")


if __name__ == "__main__":
    run_job(MixCorporaJob, "mix_corpora", main, __doc__)
