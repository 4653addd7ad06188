#!/usr/bin/env python
"""Export the best weights of a finished run as a folder that tags songs anywhere: weights, tags, data and model card.

python jobs/export.py out=demo/sweep run=0a1b2c3d4e5f to=/models/mine
python jobs/tag.py song.mp3 model=/models/mine

``out`` is the folder of a sweep or of jobs/train.py; its report and its runs/ name the runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from _cli import place, run_job
from omegaconf import MISSING

from genrescale.telemetry.terminal import say


@dataclass
class ExportJob:
    """Relative addresses lie below ``store``. ``own_model`` is package.module:Class, if that trained the run."""

    out: str = MISSING
    run: str = MISSING
    to: str = MISSING
    store: str = ""
    licence: str = ""
    own_model: str = ""


def main(job: ExportJob) -> None:
    from genrescale.export import export_run

    to = place(job.store, job.to, "to")
    spec = export_run(place(job.store, job.out, "out"), job.run, to, job.licence, job.own_model)
    say(f"{to.uri}: {spec.model}, windows of {spec.crop_s:g} s")


if __name__ == "__main__":
    run_job(ExportJob, "export", main, __doc__)
