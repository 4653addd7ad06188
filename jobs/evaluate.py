#!/usr/bin/env python
"""What finished runs are worth: metrics with intervals, their ensemble, a paired test of two, and each tag.

python jobs/evaluate.py out=demo/sweep family=waveform                       all seeds of a family at its largest size
python jobs/evaluate.py out=s3://music/sweep runs=[3f2a,9c41] corpus=s3://music/shards        two runs, tested as a pair
python jobs/evaluate.py out=demo embeddings=e.parquet corpus=/data/shards     a map of the test songs (from jobs/tag.py)

Seconds to minutes, no GPU; nothing is trained, and test songs only are looked at. It prints the tables and writes
metrics.csv, tags.csv, evaluation.json, figures and the ensemble's scores.parquet into OUT/evaluations/NAME. Of a
family the runs of the sweep's main recipe are taken, which differ by their seed. clips=true with a corpus of clips: the
clips of one song, which the corpus names as their artist, vote for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from _cli import place, run_job
from omegaconf import MISSING

from genrescale.telemetry.terminal import say


@dataclass
class EvaluateJob:
    out: str = MISSING
    runs: list[str] = field(default_factory=list)
    family: str = ""
    size: int = 0
    name: str = ""
    corpus: str = ""
    embeddings: str = ""
    clips: bool = False
    vote: str = "soft"
    threshold: float = 0.5
    resamples: int = 1000
    seed: int = 0
    store: str = ""


def main(job: EvaluateJob) -> None:
    from genrescale.data.manifest import read_manifest
    from genrescale.evaluation import build_evaluation
    from genrescale.evaluation.mapping import map_png
    from genrescale.evaluation.writing import FOLDER, format_evaluation, write_evaluation
    from genrescale.storage.store import Store

    files = place(job.store, job.out, "out")
    manifest = read_manifest(place(job.store, job.corpus, "corpus").uri) if job.corpus else None
    if job.embeddings:
        if manifest is None or job.runs or job.family:
            raise ValueError(
                "embeddings=FILE makes a map of corpus=..., which names the tags; give no runs and no family"
            )
        folder, _, file = place(job.store, job.embeddings, "embeddings").uri.rpartition("/")
        path = f"{FOLDER}/{job.name or 'embeddings'}/map.png"
        files.write_bytes(path, map_png(Store(folder or "/").read_bytes(file), manifest, seed=job.seed))
        say(f"{files.uri.rstrip('/')}/{path}")
        return
    settings = {"vote": job.vote, "threshold": job.threshold, "seed": job.seed, "resamples": job.resamples}
    evaluation = build_evaluation(files, job.runs, job.family, job.size, manifest, clips=job.clips, **settings)
    name = job.name or (f"{job.family}-{evaluation.rows[0].size}" if job.family else "-".join(job.runs))
    paths = write_evaluation(files, name, evaluation)
    say(format_evaluation(evaluation))
    for path in paths:
        say(f"{files.uri.rstrip('/')}/{path}")


if __name__ == "__main__":
    run_job(EvaluateJob, "evaluate", main, __doc__)
