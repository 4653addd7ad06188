"""A small study on a corpus of tests, whose runs are rows that a test writes instead of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helpers.scored_runs import multi_label
from helpers.sweeps import make_row

from genrescale.audio import Tag, Vocabulary
from genrescale.config import DataConfig, RunConfig, SiteConfig
from genrescale.data.manifest import Manifest
from genrescale.metrics import score
from genrescale.results import run_folder, write_result, write_scores
from genrescale.storage.store import Store
from genrescale.studies.plan import StudyPlan, plan_study
from genrescale.studies.study import CorpusNeed, Group, Row, Study, StudyRun, StudyTable
from genrescale.studies.writing import write_study


def small(chained: bool = False) -> Study:
    def of(seed: int, parent: StudyRun | None = None, lr: float = 1e-3) -> StudyRun:
        config = RunConfig(data=DataConfig(crop_s=3.0, batch=4, group=2), seed=seed)
        return StudyRun("a", replace(config, optim=replace(config.optim, lr=lr)), parent=parent)

    first, second = of(0), of(1)
    child = of(2, parent=first)
    rows = (
        Row("Ours & theirs", (first, second), {"pr_auc": 0.5}, "1M"),
        Row("Whole", (first,), scoring="whole"),
        Row("Theirs alone", paper={"roc_auc": 0.9}),
    )
    tables = [
        StudyTable("one", "First | table", "Table 1", "a", ("roc_auc", "pr_auc"), (Group("Group", rows),), scaling=True)
    ]
    if chained:
        tables.append(StudyTable("two", "Chains", "Table 2", "a", ("pr_auc",), (Group("", (Row("Child", (child,)),)),)))
    other = StudyRun("b", RunConfig(seed=7))
    tables.append(
        StudyTable("three", "Elsewhere", "Table 3", "b", ("pr_auc",), (Group("", (Row("Other", (other,)),)),))
    )
    corpora = tuple(CorpusNeed(key, f"corpus {key}", "its files", "jobs/shard_corpus.py", 10, 1.0) for key in "ab")
    return Study("small", "A small study", "Nobody 2026", "Is it?", corpora, tuple(tables), ("One reading.",))


def planned(study: Study, corpus: Manifest, out: Path) -> StudyPlan:
    return plan_study(study, {"a": corpus.uri}, SiteConfig(out=str(out)))


def finish(plan: StudyPlan, study_run: StudyRun, noise: int = 1) -> None:
    """Write the row and scores of a run, as if it had been trained."""
    trial, files = plan.trials[study_run], Store(plan.site.out)
    vocabulary = Vocabulary(tuple(Tag(f"tag {i}") for i in range(12)))
    table = multi_label(noise=noise)
    values = score(table.true_NK, table.score_NK, vocabulary)
    planned = trial.planned[0]
    dials = {"backend_layers": 3, **planned.config["model"]["dials"]}
    row = make_row(replace(planned, config={**planned.config, "model": {"name": "waveform", "dials": dials}}), **values)
    write_scores(files, f"{run_folder(trial.run_id)}/scores.parquet", table, vocabulary.names)
    write_result(files, replace(row, config=planned.config))


def finished_study(corpus: Manifest, out: Path) -> StudyPlan:
    """The small study with all the runs of its first table, and its pages."""
    plan = planned(small(), corpus, out)
    for study_run in plan.study.tables[0].runs:
        finish(plan, study_run)
    write_study(plan, "paper")
    return plan
