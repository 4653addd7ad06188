"""The tables of a study as CSV, Markdown and LaTeX (booktabs): the same lines in each."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from genrescale.display.text import csv_bytes
from genrescale.report.trials import MISSING
from genrescale.studies.filled import FilledCell, FilledRow, FilledTable

NOT_PLANNED = "–"  # noqa: RUF001


def header(table: FilledTable) -> list[str]:
    names = [name for metric in table.metrics for name in (metric.label, f"{metric.label}, paper")]
    return ["Model", *names, "Parameters", "Parameters, paper"]


def text_of(cell: FilledCell, planned: bool) -> str:
    """A number of ours as text: mean and standard deviation over seeds."""
    if not planned:
        return NOT_PLANNED
    return f"{cell.ours.text} {cell.ours.spread_text}".strip()


def paper_text(value: float | None) -> str:
    return NOT_PLANNED if value is None else f"{value:.4f}"


def _line(row: FilledRow) -> list[str]:
    numbers = [text for cell in row.cells for text in (text_of(cell, row.planned), paper_text(cell.paper))]
    params = f"{row.params:,}" if row.params else NOT_PLANNED if not row.planned else MISSING
    return [row.row.label, *numbers, params, row.row.paper_params or NOT_PLANNED]


def table_csv(table: FilledTable) -> bytes:
    """A line for each row, with numbers in full: empty where there is none, ``missing`` where no run has finished."""
    names = ["group", "model"]
    for metric in table.metrics:
        names += [f"{metric.key}_{part}" for part in ("mean", "sd", "seeds", "paper")]
    lines: list[list[object]] = []
    for row in table.rows:
        line: list[object] = [row.group.heading, row.row.label]
        for cell in row.cells:
            mean = cell.ours.mean if cell.ours.finished or not row.planned else MISSING
            line += [mean, cell.ours.spread, len(cell.ours.values), cell.paper]
        ids = " ".join(trial.planned.run_id for trial in row.trials)
        lines.append([*line, row.params, row.row.paper_params, row.row.scoring, ids])
    return csv_bytes([*names, "params", "params_paper", "scoring", "run_ids"], lines)


def table_markdown(table: FilledTable) -> str:
    """A table of Markdown, with a line for the heading of each group."""
    names = header(table)
    lines = [_markdown_line(names), _markdown_line(["---", *["---:"] * (len(names) - 1)])]
    for heading, rows in _by_group(table):
        lines.append(_markdown_line([f"**{heading}**", *[""] * (len(names) - 1)]))
        lines += [_markdown_line(_line(row)) for row in rows]
    return "\n".join([f"### {table.table.source}: {table.table.title}", "", *lines, ""])


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table_latex(table: FilledTable) -> str:
    """A table of LaTeX that needs the package booktabs."""
    names = header(table)
    lines = [
        line for heading, rows in _by_group(table) for line in ([heading, *[""] * (len(names) - 1)], *map(_line, rows))
    ]
    # labels repeat, such as those of two families' windows, so rows have numbers as their index
    styler = pd.DataFrame(lines, columns=pd.Index(names)).style.hide(axis="index")
    styler.format(escape="latex").format_index(escape="latex", axis=1)
    return styler.to_latex(
        hrules=True,
        column_format="l" + "r" * (len(names) - 1),
        caption=f"{table.table.title} ({table.table.source})",
        label=f"tab:{table.table.key}",
    )


def _by_group(table: FilledTable) -> list[tuple[str, list[FilledRow]]]:
    return [(group.heading, [row for row in table.rows if row.group is group]) for group in table.table.groups]
