"""Run what is missing of a study: its runs as trials of a sweep, chains in waves, then the scores of whole songs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

from genrescale.config.baselines import BaselinesConfig
from genrescale.launch.baselines import train_baselines
from genrescale.launch.sweep import SweepOutcome, Trial, train_missing
from genrescale.results import is_finished, write_planned
from genrescale.results.baseline import FLOOR, TREES
from genrescale.storage.lease import Claim
from genrescale.storage.store import Store
from genrescale.studies.plan import StudyPlan, plan_again
from genrescale.studies.study import StudyRun, StudyTable
from genrescale.studies.whole_songs import score_whole_songs
from genrescale.telemetry.terminal import say


def run_study(plan: StudyPlan, tables: Sequence[StudyTable], claim: Claim) -> SweepOutcome:
    """Train and score what is missing of ``tables`` on the connected Ray cluster; finished runs are not repeated.

    A run that starts from one that failed fails too, with that reason.
    """
    files = Store(plan.site.out)
    write_planned(files, plan.planned())
    for table in tables:
        _train_baselines(plan, table, files, claim)
    outcome = SweepOutcome({}, {}, [], 0)
    for wave in plan.waves(tables):
        ready, orphans = _ready(plan, wave, files)
        # each trial's ticket has its own corpus; that of the site is any of them
        site = replace(plan.site, corpus=next(iter(plan.manifests.values())).uri)
        done = train_missing(ready, site, claim, {**outcome.failures, **orphans}, "study")
        outcome = SweepOutcome(
            {**outcome.rows, **done.rows}, done.failures, done.unfinished, outcome.num_reused + done.num_reused
        )
        if outcome.unfinished:
            return outcome
    for table in tables:
        runs = [run for row in table.rows if row.scoring == "whole" for run in row.runs]
        ids = [id for id in dict.fromkeys(plan.trials[run].run_id for run in runs) if is_finished(files, id)]
        claim.check()
        score_whole_songs(files, plan.manifests[table.corpus], ids)
    return outcome


def _train_baselines(plan: StudyPlan, table: StudyTable, files: Store, claim: Claim) -> None:
    """The floor at every size of the table, trees at the largest; one that fails is told and ends nothing."""
    runs = [plan.trials[run].run for run in table.runs]
    sizes, manifest = sorted({run.data.size for run in runs}), plan.manifests[table.corpus]
    for name, chosen in ((FLOOR, sizes), (TREES, sizes[-1:])):
        if name in table.baselines:
            config = BaselinesConfig(floor=name == FLOOR, trees=name == TREES)
            train_baselines(config, chosen, runs[0].data, runs[0].seed, manifest, files, claim)


def _ready(plan: StudyPlan, wave: Sequence[StudyRun], files: Store) -> tuple[list[Trial], dict[str, str]]:
    """The trials of a wave whose parents have finished, checked again with their weights; and why others cannot run."""
    ready, orphans = [], {}
    for run in wave:
        trial = plan.trials[run]
        if run.parent is None:
            ready.append(trial)
        elif is_finished(files, parent := plan.trials[run.parent].run_id):
            ready.append(plan_again(plan, run))
        else:
            orphans[trial.run_id] = f"run {parent}, from whose weights it starts, has failed"
    if orphans:
        say(f"[study] {len(orphans)} runs cannot start, because those that they start from have failed", sys.stderr)
    return ready, orphans
