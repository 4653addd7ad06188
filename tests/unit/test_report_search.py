"""The report of a search: each trial with its cost and end, the best values by size, and no searched run in a mean."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from html import escape

import numpy as np
import pytest
from helpers.sweeps import make_plan, make_trial, write_run
from matplotlib.figure import Figure

from genrescale import report, results
from genrescale.report import page
from genrescale.report.figure import draw_optimum
from genrescale.report.searched import searched
from genrescale.results.search import FAILED, FINISHED, RUNNING, STOPPED, SearchTrial, write_search
from genrescale.storage.store import Store

BEST = {("waveform", 100): 0.03, ("waveform", 400): 0.01, ("spectrogram", 100): 0.002, ("spectrogram", 400): 0.001}


def trial(family: str, size: int, number: int, lr: float, **more: object) -> SearchTrial:
    id = make_trial(family, size, 1000, "search", lr).run_id
    fields = {"max_steps": 600, "metric": "val_loss", "status": FINISHED, "steps": 600, "seconds": 60.5, **more}
    return SearchTrial(id, family, size, number, "base", "asha", {"optim.lr": lr}, **fields)  # type: ignore[arg-type]


def ledger() -> list[SearchTrial]:
    trials = []
    for (family, size), lr in BEST.items():
        trials += [
            trial(family, size, 0, lr * 2, score=0.6),
            trial(family, size, 1, lr, score=0.5),
            trial(family, size, 2, lr / 5, status=STOPPED, steps=100, seconds=9.0, score=0.7, reason="not among <3>"),
        ]
    trials.append(trial("waveform", 100, 3, 0.9, status=FAILED, steps=0, reason="ValueError: training diverged"))
    return trials


@pytest.fixture
def sweep(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A finished sweep, and a search of two families at two sizes whose finished trials have rows."""
    monkeypatch.setattr(page, "panel_svg", lambda *_: b"<svg/>")
    monkeypatch.setattr(report, "scaling_png", lambda *_: b"")
    files = Store(str(tmp_path))
    results.write_planned(files, plan := make_plan())
    for planned in plan:
        write_run(files, planned)
    return files


def search(files: Store) -> None:
    write_search(files, ledger())
    for found in ledger():
        if found.status == FINISHED:
            planned = make_trial(found.family, found.size, 1000, "search", found.values["optim.lr"])
            write_run(files, planned, pr_auc=0.99, val_loss=0.01)


def test_searched_runs_change_no_mean_fit_or_note(sweep: Store):
    before = report.build_report(sweep)
    search(sweep)
    after = report.build_report(sweep)
    for name in ("lines", "differences", "answer", "notes", "lr_lines", "facts", "same_config", "config_differences"):
        assert getattr(after, name) == getattr(before, name), name
    assert [fit.points for fit in after.fits] == [fit.points for fit in before.fits]
    assert {run.axes for run in after.runs} - {run.axes for run in before.runs} == {"search"}


def test_the_page_lists_every_trial_with_its_cost_and_why_it_ended(sweep: Store):
    search(sweep)
    report.write_report(sweep)
    html = sweep.read_bytes("report.html").decode()
    for found in ledger():
        assert f'data-run="{found.run_id}" data-status="{found.status}"' in html
    assert f"stopped: {escape('not among <3>')}" in html
    assert "<3>" not in html
    assert "failed: ValueError: training diverged" in html
    assert "13 trials by asha: 8 finished, 4 stopped, 1 failed. They took 5,200 steps and" in html
    rows = list(csv.DictReader(io.StringIO(sweep.read_bytes("search.csv").decode())))
    assert next((row["steps"], row["seconds"], row["status"]) for row in rows if row["status"] == STOPPED) == (
        "100",
        "9.0",
        "stopped",
    )
    assert len(rows) == 13


def test_the_best_values_are_shown_by_size_and_how_they_move(sweep: Store):
    search(sweep)
    found = report.build_report(sweep)
    assert found.search is not None
    assert {o.trial.place: o.trial.values["optim.lr"] for o in found.search.optima} == BEST
    assert found.search.moving == ["optim.lr"]
    [picture] = page.optimum_pictures(found)
    assert picture.alt == (
        "Best lr against training songs. waveform: 0.03 at 100 songs, 0.01 at 400 songs. "
        "spectrogram: 0.002 at 100 songs, 0.001 at 400 songs."
    )


def test_a_stopped_trial_is_never_the_best_and_an_extreme_value_is_marked():
    trials = [trial("waveform", 100, 0, 0.1, score=0.5), trial("waveform", 100, 1, 0.01, score=0.6)]
    lucky = trial("waveform", 100, 2, 1.0, score=0.1, status=STOPPED)
    found = searched([*trials, lucky])
    assert found is not None
    assert found.optima[0].trial.values == {"optim.lr": 0.1}
    assert found.optima[0].at_edge == (), "a larger rate was tried"
    alone = searched(trials)
    assert alone is not None
    assert alone.optima[0].at_edge == ("lr",)


def test_higher_is_better_of_a_metric():
    trials = [
        trial("waveform", 100, i, 0.1 + i, score=score, metric="val_pr_auc") for i, score in enumerate((0.2, 0.3))
    ]
    found = searched(trials)
    assert found is not None
    assert found.optima[0].trial.score == 0.3
    assert [line.best for line in found.lines] == [True, False]


def test_a_search_alone_has_a_report_without_a_comparison(sweep: Store):
    sweep.delete(results.PLANNED_PATH, *(path for path in sweep.list("runs")))
    write_search(sweep, [replace(found, status=RUNNING) for found in ledger()[:3]])
    assert report.build_report(sweep).answer.headline == "No trial of the search has finished"
    search(sweep)
    found = report.write_report(sweep)
    assert found.lines == []
    assert found.answer.headline == "The best values of spectrogram with 400 songs are lr 0.001"
    assert "Waveform with 100 songs: lr 0.03 (val_loss 0.5000)." in found.answer.points


def test_the_figure_is_of_the_best_values():
    """Rates lie decades apart: their axis is logarithmic, with plain numbers, and has each family's name."""
    paths = [("waveform", [(100, 0.03), (400, 0.01)]), ("spectrogram", [(400, 0.001)])]
    axes = Figure().add_subplot()
    draw_optimum(axes, paths, "lr")
    axes.figure.canvas.draw()
    assert axes.get_yscale() == "log"
    assert {"0.001", "0.003", "0.01", "0.03"} <= {text.get_text() for text in axes.get_yticklabels()}
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["waveform", "spectrogram"]
    assert [np.asarray(line.get_ydata()).tolist() for line in axes.get_lines()] == [[0.03, 0.01], [0.001]]
