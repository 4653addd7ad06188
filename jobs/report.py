#!/usr/bin/env python
"""The report of a sweep, from its plan and its finished runs; seconds, no GPU, nothing is trained.

python jobs/report.py out=demo/sweep

Writes report.html, figure.png, table.csv and runs.csv into the sweep's folder (a local folder or any store URI) and
prints the comparison. It can be run while the sweep still runs: what has not finished shows as missing.
"""

from __future__ import annotations

from dataclasses import dataclass

from _cli import place, run_job
from omegaconf import MISSING

from genrescale.telemetry.terminal import say


@dataclass
class ReportJob:
    """``out`` is the sweep's folder, where ``sweep.json`` and ``runs/`` lie; below ``store`` where it is relative."""

    out: str = MISSING
    store: str = ""


def main(job: ReportJob) -> None:
    from genrescale.report import report_sweep

    say(report_sweep(place(job.store, job.out, "out")))


if __name__ == "__main__":
    run_job(ReportJob, "report", main, __doc__)
