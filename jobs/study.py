#!/usr/bin/env python
"""A paper's tables by one command: each row is trained and scored, and stands beside the paper's number.

python jobs/study.py list                                              the studies, and what each needs
python jobs/study.py study=pons2018 scale=demo out=pons                synthetic songs, narrow models: minutes
python jobs/study.py study=pons2018 corpora.mtt=s3://music/mtt only=[table2,table3] out=s3://music/pons
python jobs/study.py study=pons2018 scale=demo dry_run=true            the runs and their cost; nothing is started

scale=paper trains what the paper did, on its corpora. Finished runs are not repeated: the same command continues. It
writes OUT/study.html, and the tables as CSV, Markdown and LaTeX. Relative addresses lie below ``store``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace

from _cli import EXIT_INTERRUPTED, place, place_out, run_job
from _on_ray import OnRay
from _studies import chosen_scale, list_studies, refuse_other_scale

from genrescale.config import SiteConfig
from genrescale.config.study import ScaleConfig
from genrescale.launch.cluster import check_gpu, nodes_ahead
from genrescale.telemetry.terminal import say


@dataclass
class StudyJob(OnRay):
    name: str = ""
    scale: str = "paper"
    only: list[str] = field(default_factory=list)
    ask: list[str] = field(default_factory=list)
    corpora: dict[str, str] = field(default_factory=dict)
    scales: dict[str, ScaleConfig] = field(default_factory=dict)
    store: str = ""
    out: str = "study"
    dry_run: bool = False
    rerun: bool = False
    site: SiteConfig = field(default_factory=SiteConfig)


def main(job: StudyJob) -> int:
    if job.ask:
        return list_studies(StudyJob, job.ask)
    scale = chosen_scale(job.name, job.scale, job.scales)

    from genrescale.launch.listing import foretell
    from genrescale.launch.sweep import format_outcome
    from genrescale.results.changes import show_outdated
    from genrescale.storage.lease import writing
    from genrescale.studies import STUDIES
    from genrescale.studies.corpora import StudyCorpora
    from genrescale.studies.listing import dry_run
    from genrescale.studies.run import run_study
    from genrescale.studies.writing import format_study, live_study, write_study

    study, files = STUDIES[job.name](scale), place_out(job.store, job.out, "out")
    given = {key: place(job.store, address, f"corpora.{key}").uri for key, address in job.corpora.items()}
    corpora, site = StudyCorpora(study, scale, given, files), replace(job.site, out=files.uri)
    if job.dry_run:
        say(dry_run(corpora, job.only, site, nodes_ahead(job.cpus)))
        return 0
    check_gpu(site.use_gpu, "site.use_gpu")
    corpora.check(job.only, site)
    say("[study] connecting to Ray", sys.stderr)
    with writing(files, "study") as lease, job.connected(files, trains=True):
        corpora.make()
        plan = corpora.plan(site)
        tables = plan.tables(job.only)
        show_outdated(files, plan.planned(), allowed=job.rerun)
        foretell(plan.of_tables(tables), site)
        with live_study(plan, job.scale):
            ended = run_study(plan, tables, lease.claim)
        say(f"{format_study(write_study(plan, job.scale))}{format_outcome(ended)}\n{files.child('study.html').uri}")
    return EXIT_INTERRUPTED if ended.unfinished else int(bool(ended.failures))


if __name__ == "__main__":
    run_job(StudyJob, "study", main, __doc__, positional="ask", check=refuse_other_scale)
