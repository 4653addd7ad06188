"""Write a study's page and its tables as files, from the result rows that are there; nothing is trained."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from genrescale.config.metrics import METRICS
from genrescale.display.text import count_text
from genrescale.report import write_report
from genrescale.report.live import LiveReport
from genrescale.results import read_scores
from genrescale.results.baseline import TREES
from genrescale.storage.store import Store
from genrescale.studies.figure import scaling_files
from genrescale.studies.filled import FilledTable, fill_tables
from genrescale.studies.formats import NOT_PLANNED, paper_text, table_csv, table_latex, table_markdown, text_of
from genrescale.studies.page import StudyPage, render_study
from genrescale.studies.plan import StudyPlan
from genrescale.studies.songs import compare_songs, render_songs

PAGE, SONGS = "study.html", "songs.html"
TABLES, FIGURES = "tables", "figures"
_WIDTH = 110


def study_page(plan: StudyPlan, scale: str) -> StudyPage:
    """What the page of a study shows now."""
    tables, refused = fill_tables(plan)
    notes = _notes(plan, scale, tables, refused)
    return StudyPage(plan.study, scale, Store(plan.site.out).uri, tables, notes)


def _compared(plan: StudyPlan, tables: Sequence[FilledTable]) -> str:
    """The page of songs of the scaling table; "" until it has trees and a finished run of the largest size."""
    files, table = Store(plan.site.out), next((table for table in tables if table.table.scaling), None)
    trees = next((r.baseline for r in table.rows if r.row.baseline == TREES and r.baseline), None) if table else None
    if table is None or trees is None:
        return ""
    finished = [trial for trial in table.trials if trial.row and trial.planned.size == trees.size]
    if not finished:
        return ""
    best = max(finished, key=lambda trial: trial.value(METRICS["pr_auc"]) or 0.0)
    deep, of_trees = (read_scores(files, scored.scores_path)[0] for scored in (best, trees))
    manifest = plan.manifests[table.table.corpus]
    found = compare_songs(manifest, deep, of_trees, f"{best.family} (seed {best.planned.seed})", trees.name)
    return render_songs(found, f"{plan.study.key}, {table.table.source}", manifest.vocabulary)


def write_study(plan: StudyPlan, scale: str) -> StudyPage:
    """Write the page, the tables and the page of songs into the study's folder, the page last.

    The report of the table by size, with its scaling analysis, is written beside them.
    """
    files, page = Store(plan.site.out), study_page(plan, scale)
    if any(table.table.scaling and any(trial.row for trial in table.trials) for table in page.tables):
        report = write_report(files)
        page = replace(page, answer=f"{report.answer.headline}. {report.answer.lead}", report=True)
    if songs := _compared(plan, page.tables):
        files.write_bytes(SONGS, songs.encode())
        page = replace(page, songs=True)
    for table in page.tables:
        key = table.table.key
        files.write_bytes(f"{TABLES}/{key}.csv", table_csv(table))
        files.write_bytes(f"{TABLES}/{key}.md", table_markdown(table).encode())
        files.write_bytes(f"{TABLES}/{key}.tex", table_latex(table).encode())
        if table.table.scaling and not table.lacking:
            for name, data in scaling_files(table).items():
                files.write_bytes(f"{FIGURES}/{name}", data)
    files.write_bytes(PAGE, render_study(page).encode())
    return page


def live_study(plan: StudyPlan, scale: str) -> LiveReport:
    """A context in which the page is written as runs validate and finish. Its address is said first."""
    files = Store(plan.site.out)
    return LiveReport(files, files.child(PAGE).uri, lambda: write_study(plan, scale))


def _notes(plan: StudyPlan, scale: str, tables: Sequence[FilledTable], refused: dict[str, str]) -> list[str]:
    """What limits the numbers, most severe first."""
    trials = {trial.planned.run_id: trial for table in tables for trial in table.trials}
    failed = [trial for trial in trials.values() if trial.error and trial.row is None]
    notes = []
    if failed:
        notes.append(f"{count_text(len(failed), 'run')} failed: see Runs. Means are over the others.")
    if refused:
        notes.append(f"{count_text(len(refused), 'result row')} cannot be read: {'; '.join(refused.values())}.")
    if plan.missing:
        notes.append(f"Not given: {', '.join(f'corpora.{corpus.key}' for corpus in plan.missing)} (see the tables).")
    if scale == "demo":
        notes.append(
            "A demonstration: narrow models, few steps, songs that stand for the paper's. It shows what the study "
            "computes; its numbers say nothing about the paper's."
        )
    return notes


def format_study(page: StudyPage) -> str:
    """The tables for a terminal: our numbers, and in brackets the paper's."""
    sink = io.StringIO()
    console = Console(file=sink, width=_WIDTH, highlight=False, markup=False)
    for filled in page.tables:
        table = Table(title=f"{filled.table.source}: {filled.table.title}", title_justify="left")
        for name in ("Model", *(metric.label for metric in filled.metrics), "Parameters"):
            table.add_column(name, justify="left" if name == "Model" else "right", no_wrap=name != "Model")
        for group in filled.table.groups:
            table.add_section()
            for row in (row for row in filled.rows if row.group is group):
                numbers = [_beside(text_of(cell, row.planned), paper_text(cell.paper)) for cell in row.cells]
                params = _beside(f"{row.params:,}" if row.params else NOT_PLANNED, row.row.paper_params or NOT_PLANNED)
                table.add_row(row.row.label, *numbers, params)
        if not filled.lacking:
            console.print(table)
        else:
            console.print(f"{filled.table.source}: {filled.lacking}.")
    console.print("In brackets: the paper's numbers.")
    for note in page.notes:
        console.print(f"Note: {note}")
    return sink.getvalue()


def _beside(ours: str, papers: str) -> str:
    return ours if papers == NOT_PLANNED else f"{ours} ({papers})"
