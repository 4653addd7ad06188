"""Write a sweep's report: a page, a figure, two CSV files and a table, from the sweep's plan and result rows.

Or that of any runs. ``build_report`` only reads; ``write_report`` writes ``report.html``, ``figure.png``, ``table.csv``
and ``runs.csv`` to the sweep's folder. The same rows give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

from rich.console import Console
from rich.table import Table

from genrescale.display.text import count_text, csv_bytes
from genrescale.report.axes import AxisLine, Run, axis_lines, list_runs
from genrescale.report.baselines import (
    BaselineLine,
    answer_baselines,
    baseline_paths,
    floor_gaps,
    floor_words,
    read_baselines,
)
from genrescale.report.checks import ConfigDifference, config_values, facts, notes, planned_only
from genrescale.report.compute import FamilyCompute, family_computes
from genrescale.report.curves import Begun, CurveLine, begun_runs, curve_lines, read_curves
from genrescale.report.figure import scaling_png
from genrescale.report.fits import Crossing, FamilyFit, crossings, family_fit, seeds_of
from genrescale.report.laws import MetricScaling, metric_scaling
from genrescale.report.live import LiveReport
from genrescale.report.page import render_page
from genrescale.report.searched import Searched, answer_searched, search_csv, searched
from genrescale.report.songs import Baseline, TestSongs, baseline
from genrescale.report.tables import (
    Difference,
    Line,
    Metric,
    comparison_lines,
    differences,
    order_families,
    shown_metrics,
)
from genrescale.report.trials import MISSING, TrialOutcome, read_trials
from genrescale.report.words import Answer, answer, answer_alone, main_metric
from genrescale.results import PlannedTrial, ResultRow
from genrescale.results.search import read_search
from genrescale.storage.store import Store

REPORT_FILES = ("report.html", "figure.png", "table.csv", "runs.csv")
SEARCH_FILE = "search.csv"  # of a sweep with a search
TERMINAL_WIDTH = 100  # characters
_NOT_IN_CSV = {"run_id", "model", "size", "seed", "lr", "config"}


@dataclass(frozen=True, eq=False)
class Report:
    """All that a report shows, computed from result rows; the writers only format it."""

    uri: str
    trials: list[TrialOutcome]
    metrics: list[Metric]
    main: Metric
    families: list[str]
    lines: list[Line]
    baseline: Baseline | None
    baselines: list[BaselineLine]
    differences: list[Difference]
    fits: list[FamilyFit]
    crossings: list[Crossing]
    laws: list[MetricScaling]
    lr_lines: list[AxisLine]
    layer_lines: list[AxisLine]
    curves: dict[str, list[CurveLine]]
    begun: dict[str, Begun]
    answer: Answer
    notes: list[str]
    facts: list[tuple[str, str]]
    same_config: dict[str, str]
    config_differences: list[ConfigDifference]
    runs: list[Run]
    failures: dict[str, str]
    search: Searched | None = None
    computes: Sequence[FamilyCompute] = ()

    @property
    def sizes(self) -> list[int]:
        """The sizes of the comparison, largest first."""
        return sorted({line.size for line in (*self.lines, *self.baselines)}, reverse=True)


def _left_out(refused: Mapping[str, str]) -> list[str]:
    if not refused:
        return []
    return [f"{count_text(len(refused), 'result row')} left out that cannot be read: {'; '.join(refused.values())}."]


def _other_answer(
    lines: list[Line], main: Metric, songs: TestSongs, search: Searched | None, baselines: list[BaselineLine]
) -> Answer:
    """What is said where no two families can be compared: what was searched, or baselines, if no grid was planned."""
    if baselines and not lines and not search:
        return answer_baselines(baselines, main)
    return answer_searched(search) if search and not lines else answer_alone(lines, main, songs)


def _with_floor(
    told: Answer, lines: list[Line], baselines: list[BaselineLine], main: Metric, songs: TestSongs
) -> Answer:
    """The answer, and which families are below the linear floor."""
    lead, points = floor_words(floor_gaps(lines, baselines, main, songs))
    return replace(told, lead=f"{told.lead} {lead}".strip(), points=(*points, *told.points))


def build_report(
    files: Store, compared: Sequence[PlannedTrial] | None = None, songs: TestSongs | None = None
) -> Report:
    """Build the report of the sweep in ``files``, or of the ``compared`` runs alone (``find_runs``).

    ``songs`` keeps the score tables for the next report. Raises ValueError if no sweep was planned there and no run has
    finished.
    """
    trials, errors, refused = read_trials(files, compared)
    grid = [trial for trial in trials if trial.planned.axis == "grid"]
    # runs of a study's other tables may have other sizes and corpora
    baselines, baseline_notes = read_baselines(files, planned_only(trials) or trials)
    metrics, songs = shown_metrics([*planned_only(trials), *baselines]), songs or TestSongs(files)
    songs.forget_missing()
    families, lines = order_families(grid), comparison_lines(grid, metrics)
    compared_families = differences(lines, metrics, songs)
    values = {metric.key: {family: seeds_of(family, metric, lines) for family in families} for metric in metrics}
    laws = [law for metric in metrics if (law := metric_scaling(metric, values[metric.key], lines, songs))]
    by_metric = {law.metric.key: law for law in laws}
    fits = [family_fit(family, metric, lines, by_metric.get(metric.key)) for metric in metrics for family in families]
    crossed = crossings(fits, compared_families, laws)
    same, differ = config_values(trials)
    search = None if compared else searched(read_search(files))
    tables = read_curves(files, planned_only(trials))
    main = main_metric(metrics)
    told = answer(compared_families, fits, crossed, main) or _other_answer(lines, main, songs, search, baselines)
    return Report(
        uri=files.uri,
        trials=trials,
        metrics=metrics,
        main=main,
        families=families,
        lines=lines,
        baseline=baseline(grid, songs),
        baselines=baselines,
        differences=compared_families,
        fits=fits,
        crossings=crossed,
        laws=laws,
        lr_lines=axis_lines(trials, "lr", metrics),
        layer_lines=axis_lines(trials, "layers", metrics),
        curves=curve_lines(grid, tables),
        begun=begun_runs(trials, tables),
        answer=_with_floor(told, lines, baselines, main, songs),
        notes=[*_left_out(refused), *notes(trials, lines, differ), *baseline_notes],
        facts=facts(trials),
        same_config=same,
        config_differences=differ,
        runs=list_runs(trials),
        failures=errors,
        search=search,
        computes=family_computes(trials, main),
    )


def table_csv(report: Report) -> bytes:
    """One line per family and size, then the baselines; ``missing`` if no run finished, empty if undefined."""
    header = ["family", "size", "seeds_planned", "seeds_finished"]
    header += [f"{metric.key}_{part}" for metric in report.metrics for part in ("mean", "sd", "seeds")]
    rows = []
    for line in report.lines:
        row: list[object] = [line.family, line.size, len(line.trials), line.finished]
        for metric in report.metrics:
            cell = line.cells[metric.key]
            row += [cell.mean if cell.finished else MISSING, cell.spread, len(cell.values)]
        rows.append(row)
    for other in report.baselines:
        values = [other.value(metric) for metric in report.metrics]
        cells = [part for value in values for part in (value, None, int(value is not None))]
        rows.append([other.name, other.size, 1, 1, *cells])
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


def write_report(
    files: Store, compared: Sequence[PlannedTrial] | None = None, folder: str = "", songs: TestSongs | None = None
) -> Report:
    """Build the report and write REPORT_FILES beside the sweep's plan, or into a folder below it."""
    report = build_report(files, compared, songs)
    panels = [
        (
            [fit for fit in report.fits if fit.metric == metric],
            [c for c in report.crossings if c.metric == metric],
            baseline_paths(report.baselines, metric),
        )
        for metric in report.metrics
        if any(fit.points for fit in report.fits if fit.metric == metric)
    ]
    target = files.child(folder) if folder else files
    target.write_bytes("figure.png", scaling_png(panels, report.families))
    target.write_bytes("table.csv", table_csv(report))
    target.write_bytes("runs.csv", runs_csv(report))
    if report.search:
        target.write_bytes(SEARCH_FILE, search_csv([line.trial for line in report.search.lines]))
    # The page is written last: if it exists, all its files do.
    target.write_bytes("report.html", render_page(report).encode())
    return report


def report_sweep(files: Store, compared: Sequence[PlannedTrial] | None = None, folder: str = "") -> str:
    """Write the report; returns its table and the addresses of its files, for a terminal."""
    table = format_table(write_report(files, compared, folder))
    target = files.child(folder) if folder else files
    return "\n".join([table, *(target.child(name).uri for name in REPORT_FILES)])


def live_report(files: Store, compared: Sequence[PlannedTrial] | None = None, folder: str = "") -> LiveReport:
    """A context in which the report is written as runs validate and finish. Its address is said first."""
    target = files.child(folder) if folder else files
    page = target.child("report.html").uri
    songs = TestSongs(files)
    return LiveReport(files, page, lambda: write_report(files, compared, folder, songs))


def comparison_folder(runs: Sequence[PlannedTrial]) -> str:
    """The folder of the report of some runs, below theirs: the same runs, in any order, have the same."""
    ids = sorted(trial.run_id for trial in runs)
    if len(ids) > 3:
        ids = [f"{len(ids)}-runs", hashlib.sha256(" ".join(ids).encode()).hexdigest()[:12]]
    return f"evaluations/report-{'-'.join(ids)}"


def format_table(report: Report) -> str:
    """Format the comparison for a terminal: the paper's Table 1, the answer, and its limitations."""
    table = Table(title="Mean ± standard deviation over seeds", title_justify="left")
    for name in ("Family", "Songs", *(metric.label for metric in report.metrics), "Seeds"):
        table.add_column(name, justify="left" if name == "Family" else "right")
    for size in report.sizes:
        table.add_section()
        for line in (line for line in report.lines if line.size == size):
            cells = [line.cells[metric.key] for metric in report.metrics]
            texts = [f"{cell.text} {cell.spread_text}".strip() for cell in cells]
            table.add_row(line.family, f"{line.size:,}", *texts, line.seeds_text)
        for other in (other for other in report.baselines if other.size == size):
            table.add_row(other.name, f"{size:,}", *(other.text(metric) for metric in report.metrics), "")
    if report.baseline:
        table.add_section()
        known = report.baseline.values
        values = [f"{known[m.key]:.4f}" if m.key in known else "" for m in report.metrics]
        table.add_row(report.baseline.name, "", *values, "")
    sink = io.StringIO()
    console = Console(file=sink, width=TERMINAL_WIDTH, highlight=False, markup=False)
    if report.lines or report.baselines or not report.search:
        console.print(table)
    console.print(f"{report.answer.headline}.")
    console.print(report.answer.lead)
    if report.search and report.lines:  # without a grid, the answer is that of the search
        console.print(f"Search: {report.search.summary}")
    for note in report.notes:
        console.print(f"Note: {note}")
    return sink.getvalue()
