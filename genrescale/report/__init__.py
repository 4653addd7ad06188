"""Write a sweep's report: a page, a figure, two CSV files and a table, from the sweep's plan and result rows.

``build_report`` only reads; ``write_report`` writes ``report.html``, ``figure.png``, ``table.csv`` and ``runs.csv`` to
the sweep's folder. The same rows give the same bytes.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from rich.console import Console
from rich.table import Table

from genrescale.display.text import count_text, csv_bytes
from genrescale.report.axes import AxisLine, Run, axis_lines, list_runs
from genrescale.report.checks import ConfigDifference, config_values, facts, notes, planned_only
from genrescale.report.figure import CurveLine, scaling_png
from genrescale.report.fits import Crossing, FamilyFit, crossings, family_fit
from genrescale.report.page import render_page
from genrescale.report.tables import (
    ACCURACY,
    MISSING,
    TABLE_1_METRICS,
    Difference,
    Line,
    Metric,
    TrialOutcome,
    comparison_lines,
    differences,
    order_families,
    read_trials,
)
from genrescale.report.words import Answer, answer
from genrescale.results import ResultRow, read_curve
from genrescale.storage.store import Store

REPORT_FILES = ("report.html", "figure.png", "table.csv", "runs.csv")
CURVES = ("val_loss", "val_pr_auc")
TERMINAL_WIDTH = 100  # characters
_NOT_IN_CSV = {"run_id", "model", "size", "seed", "lr", "config"}


@dataclass(frozen=True, eq=False)
class Report:
    """All that a report shows, computed from result rows; the writers only format it."""

    uri: str
    trials: list[TrialOutcome]
    metrics: list[Metric]
    families: list[str]
    lines: list[Line]
    differences: list[Difference]
    fits: list[FamilyFit]
    crossings: list[Crossing]
    lr_lines: list[AxisLine]
    layer_lines: list[AxisLine]
    curves: dict[str, list[CurveLine]]
    answer: Answer
    notes: list[str]
    facts: list[tuple[str, str]]
    same_config: dict[str, str]
    config_differences: list[ConfigDifference]
    runs: list[Run]
    failures: dict[str, str]


def _curves(files: Store, grid: Sequence[TrialOutcome]) -> dict[str, list[CurveLine]]:
    """Read the validation curves of finished grid runs, by curve column."""
    lines_of: dict[str, list[CurveLine]] = {name: [] for name in CURVES}
    for trial in grid:
        table = read_curve(files, trial.planned.run_id) if trial.row else None
        if table is None:
            continue
        for name in CURVES:
            pairs = zip(table["step"].to_pylist(), table[name].to_pylist(), strict=True)
            known = [(step, value) for step, value in pairs if value is not None and not math.isnan(value)]
            if known:
                steps, values = zip(*known, strict=True)
                lines_of[name].append(CurveLine(trial.family, trial.planned.size, trial.planned.seed, steps, values))
    return lines_of


def _left_out(refused: Mapping[str, str]) -> list[str]:
    if not refused:
        return []
    return [f"{count_text(len(refused), 'result row')} left out that cannot be read: {'; '.join(refused.values())}."]


def build_report(files: Store) -> Report:
    """Build the report of the sweep in ``files``. Raises FileNotFoundError if no sweep was planned there."""
    trials, errors, refused = read_trials(files)
    grid = [trial for trial in trials if trial.planned.axis == "grid"]
    scored = any(trial.value(ACCURACY) is not None for trial in planned_only(trials))
    metrics = [*TABLE_1_METRICS, *([ACCURACY] if scored else [])]
    families, lines = order_families(grid), comparison_lines(grid, metrics)
    compared = differences(lines, metrics)
    fits = [family_fit(family, metric, lines) for metric in metrics for family in families]
    crossed = crossings(fits, compared)
    same, differ = config_values(trials)
    return Report(
        uri=files.uri,
        trials=trials,
        metrics=metrics,
        families=families,
        lines=lines,
        differences=compared,
        fits=fits,
        crossings=crossed,
        lr_lines=axis_lines(trials, "lr", metrics),
        layer_lines=axis_lines(trials, "layers", metrics),
        curves=_curves(files, grid),
        answer=answer(compared, fits, crossed),
        notes=[*_left_out(refused), *notes(trials, lines, differ)],
        facts=facts(trials),
        same_config=same,
        config_differences=differ,
        runs=list_runs(trials),
        failures=errors,
    )


def table_csv(report: Report) -> bytes:
    """One line per family and size: ``missing`` if no run finished, empty if a value is undefined."""
    header = ["family", "size", "seeds_planned", "seeds_finished"]
    header += [f"{metric.key}_{part}" for metric in report.metrics for part in ("mean", "sd", "seeds")]
    rows = []
    for line in report.lines:
        row: list[object] = [line.family, line.size, len(line.trials), line.finished]
        for metric in report.metrics:
            cell = line.cells[metric.key]
            row += [cell.mean if cell.finished else MISSING, cell.spread, len(cell.values)]
        rows.append(row)
    return csv_bytes(header, rows)


def _csv_value(value: object) -> object:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value


def runs_csv(report: Report) -> bytes:
    """One line per run: its settings, status, error and all fields of its row."""
    names = [field.name for field in fields(ResultRow) if field.name not in _NOT_IN_CSV]
    header = ["run_id", "axes", "status", "family", "size", "seed", "lr", "setting", "error", *names]
    rows = []
    for run in report.runs:
        trial, plan = run.trial, run.trial.planned
        row = [plan.run_id, run.axes, trial.status, trial.family, plan.size, plan.seed, plan.lr, run.setting]
        row += [trial.error, *(_csv_value(getattr(trial.row, name)) if trial.row else None for name in names)]
        rows.append(row)
    return csv_bytes(header, rows)


def write_report(files: Store) -> Report:
    """Build the report and write REPORT_FILES beside the sweep's plan."""
    report = build_report(files)
    panels = [
        ([fit for fit in report.fits if fit.metric == metric], [c for c in report.crossings if c.metric == metric])
        for metric in report.metrics
    ]
    files.write_bytes("figure.png", scaling_png(panels if report.families else [], report.families))
    files.write_bytes("table.csv", table_csv(report))
    files.write_bytes("runs.csv", runs_csv(report))
    # The page is written last: if it exists, all four files do.
    files.write_bytes("report.html", render_page(report).encode())
    return report


def report_sweep(files: Store) -> str:
    """Write the report; returns its table and the addresses of its files, for a terminal."""
    table = format_table(write_report(files))
    return "\n".join([table, *(files.child(name).uri for name in REPORT_FILES)])


def format_table(report: Report) -> str:
    """Format the comparison for a terminal: the paper's Table 1, the answer, and its limitations."""
    table = Table(title="Mean ± standard deviation over seeds", title_justify="left")
    for name in ("Family", "Songs", *(metric.label for metric in report.metrics), "Seeds"):
        table.add_column(name, justify="left" if name == "Family" else "right")
    for before, line in zip([None, *report.lines], report.lines, strict=False):
        if before and before.size != line.size:
            table.add_section()
        cells = [line.cells[metric.key] for metric in report.metrics]
        texts = [f"{cell.text} {cell.spread_text}".strip() for cell in cells]
        table.add_row(line.family, f"{line.size:,}", *texts, line.seeds_text)
    sink = io.StringIO()
    console = Console(file=sink, width=TERMINAL_WIDTH, highlight=False, markup=False)
    console.print(table)
    console.print(report.answer.lead)
    for note in report.notes:
        console.print(f"Note: {note}")
    return sink.getvalue()
