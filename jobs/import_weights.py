#!/usr/bin/env python
"""A published checkpoint as an exported model: weights, tags, data and model card, ready for jobs/tag.py.

python jobs/import_weights.py checkpoint=best_model.pth model=musicnn tags=mtat licence=MIT to=/models/musicnn

``checkpoint`` is of Won et al. 2020 (github.com/minzwon/sota-music-tagging-models), of MTG-Jamendo's baseline, of
SSAST's authors or an AST of transformers; ``model`` is our name of the architecture, its dials are +dials.NAME=VALUE
(those that the weights need are set). A pretrained SSAST is imported without tags, to be fine-tuned:

python jobs/import_weights.py checkpoint=SSAST-Base-Patch-400.pth model=ssast_pretraining to=/models/runs/ssast
python jobs/train.py ... run.model.name=ssast site.parents=/models run.init.run=ssast run.init.take=matching

Nothing in the file is executed. Every array must find its place; what does not is listed.
"""

from __future__ import annotations

from dataclasses import dataclass

from _cli import place, run_job
from omegaconf import MISSING

from genrescale.config.published import Published
from genrescale.telemetry.terminal import say


@dataclass
class ImportWeightsJob(Published):
    """Relative addresses lie below ``store``."""

    to: str = MISSING
    store: str = ""


def main(job: ImportWeightsJob) -> None:
    from genrescale.export.published import import_published

    to = place(job.store, job.to, "to")
    say(import_published(job, place(job.store, job.checkpoint, "checkpoint"), to))


if __name__ == "__main__":
    run_job(ImportWeightsJob, "import_weights", main, __doc__)
