"""The axis of compute: widths and budgets become runs of equal operations; the report finds the planted best size."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.sweeps import make_row

from genrescale.config import DataConfig, OptimConfig, SiteConfig
from genrescale.config.sweep import ComputeConfig, SweepConfig
from genrescale.data.manifest import Manifest
from genrescale.launch.sweep import Trial, plan_trials, planned_trials
from genrescale.report import build_report, write_report
from genrescale.report.compute import flops_text
from genrescale.results import write_planned, write_result
from genrescale.storage.store import Store

WIDTHS, BUDGETS = [0.5, 1.0, 2.0, 4.0], [4e11, 2e12, 1e13]
DIALS = {"frontend_width": 0.125, "backend_filters": 16, "backend_units": 16}


def planned(corpus: Manifest, out: Path, **settings: object) -> list[Trial]:
    sweep = SweepConfig(
        families=["waveform"],
        sizes=[8, 40],
        seeds=[0],
        dials={"waveform": DIALS},
        data=DataConfig(crop_s=3.0, batch=8, group=4),
        optim=OptimConfig(max_steps=18, validate_every=2),
        compute=ComputeConfig(**{"widths": WIDTHS, "budgets": BUDGETS, **settings}),  # type: ignore[arg-type]
    )
    return plan_trials(sweep, SiteConfig(corpus=corpus.uri, out=str(out)), corpus)


def test_runs_of_a_budget_have_equal_operations_and_the_widths_of_the_recipe_times_the_axis(
    corpus: Manifest, tmp_path: Path
):
    trials = [trial for trial in planned(corpus, tmp_path) if trial.planned[0].axis == "compute"]
    assert len(trials) == len(WIDTHS) * len(BUDGETS)
    assert {trial.run.data.size for trial in trials} == {40}
    for trial in trials:
        place, run = trial.planned[0].layers, trial.run
        done = place["clip_flops"] * run.optim.max_steps * run.data.batch
        assert done == pytest.approx(place["budget"], rel=0.5 / run.optim.max_steps)
        assert run.model.dials["backend_filters"] == 16 * place["width"]
        assert run.model.dials["frontend_width"] == 0.125 * place["width"]
        assert run.optim.patience_steps == 0
    cost = {trial.planned[0].layers["width"]: trial.planned[0].layers["clip_flops"] for trial in trials}
    assert [cost[width] for width in WIDTHS] == sorted(cost.values())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budgets": []}, "together only"),
        ({"widths": [1.0, 1.0]}, "none twice"),
        ({"widths": [-1.0]}, "greater than 0"),
        ({"budgets": [1e6]}, "the smallest budget allows waveform"),
        ({"widths": [0.3]}, "frontend_width"),
    ],
)
def test_an_axis_that_cannot_be_trained_is_refused(
    settings: dict[str, list[float]], words: str, corpus: Manifest, tmp_path: Path
):
    with pytest.raises(ValueError, match=words):
        planned(corpus, tmp_path, **settings)


def finish(trials: list[Trial], files: Store, best: dict[float, float]) -> None:
    """Write rows whose error is a parabola in the logarithm of the width, lowest at ``best`` of each budget."""
    write_planned(files, planned_trials(trials))
    for trial in trials:
        plan = trial.planned[0]
        if plan.axis != "compute":
            continue
        width, budget = plan.layers["width"], plan.layers["budget"]
        error = 0.3 * (budget / 4e11) ** -0.1 + 0.02 * math.log(width / best[budget]) ** 2
        row = make_row(
            replace(plan, config={**plan.config, "model": {"name": "waveform", "dials": {"backend_layers": 3}}})
        )
        params = round(5000 * width)
        values = {"pr_auc": 1 - error, "steps": trial.run.optim.max_steps, "num_params": params}
        write_result(files, replace(row, config=plan.config, **values))


def test_the_report_finds_the_best_size_of_each_budget(corpus: Manifest, tmp_path: Path):
    files = Store(str(tmp_path))
    finish(planned(corpus, tmp_path), files, dict(zip(BUDGETS, (1.0, 1.4, 2.0), strict=True)))
    (found,) = build_report(files).computes
    assert [group.best_params for group, _ in found.best] == pytest.approx([5000, 7000, 10_000], rel=0.02)
    assert len(found.runs) == len(WIDTHS) * len(BUDGETS)
    write_report(files)
    page = (tmp_path / "report.html").read_text()
    assert 'id="compute-table"' in page
    assert "figure-isoflop-waveform" in page
    assert page.count("<code>") >= len(found.runs)


def test_missing_runs_are_missing_and_what_is_not_determined_says_why(corpus: Manifest, tmp_path: Path):
    files = Store(str(tmp_path))
    trials = planned(corpus, tmp_path)
    finish(
        [trial for trial in trials if trial.planned[0].layers.get("width") in (0.5, 1.0)],
        files,
        dict.fromkeys(BUDGETS, 1.0),
    )
    write_planned(files, planned_trials(trials))
    (found,) = build_report(files).computes
    assert sum(run.point is None for run in found.runs) == 2 * len(BUDGETS)
    assert {group.unsupported for group in found.groups} == {"a parabola needs 3 sizes of model, got 2"}
    assert "at least 3 different numbers of parameters" in found.unknown
    write_report(files)
    assert "a parabola needs 3 sizes of model, got 2" in (tmp_path / "report.html").read_text()


def test_operations_have_a_prefix():
    assert [flops_text(flops) for flops in (12.0, 3.2e12, 4e18)] == ["12 FLOP", "3.2 TFLOP", "4 EFLOP"]
