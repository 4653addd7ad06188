#!/usr/bin/env python
"""The report of a sweep, or of any finished runs; seconds, no GPU, nothing is trained.

python jobs/report.py out=demo/sweep
python jobs/report.py out=/data/runs runs=[3f2a,9c41]            these runs alone, also of jobs/train.py
python jobs/report.py out=demo/sweep watch=true                  served on loopback while it runs, until Ctrl-C

Writes report.html, figure.png, table.csv and runs.csv and prints the comparison: of a sweep into its folder (a local
folder or any store URI), of chosen runs into OUT/evaluations/report-RUNS. It can be run while the sweep still runs:
what has not finished shows how far it is. Runs are given by their ids, or the beginnings of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from _cli import place, run_job
from omegaconf import MISSING

from genrescale.config.checks import require
from genrescale.telemetry.terminal import say


@dataclass
class ReportJob:
    """``out`` is the folder where ``runs/`` lies, and of a sweep ``sweep.json``; below ``store`` if it is relative."""

    out: str = MISSING
    runs: list[str] = field(default_factory=list)
    watch: bool = False
    port: int = 0
    store: str = ""


def main(job: ReportJob) -> None:
    from genrescale.report import build_report, comparison_folder, report_sweep
    from genrescale.report.page import render_page
    from genrescale.report.served import serve_report
    from genrescale.report.trials import find_runs

    files = place(job.store, job.out, "out")
    if job.port and not job.watch:
        raise ValueError("port= is where watch=true serves the report")
    require(0 <= job.port < 65_536, f"port={job.port} must be from 0 (any free one) to 65535")
    if job.watch:
        chosen = find_runs(files, job.runs) if job.runs else None
        serve_report(files, lambda: render_page(build_report(files, chosen)), job.port)
    if not job.runs:
        say(report_sweep(files))
        return
    runs = find_runs(files, job.runs)
    say(report_sweep(files, runs, comparison_folder(runs)))


if __name__ == "__main__":
    run_job(ReportJob, "report", main, __doc__)
