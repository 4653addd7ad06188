"""Draw the scaling table of a study: each metric against songs, our seeds and lines beside the paper's points.

The page has every metric on a logarithmic and a linear axis, because the paper's lines are straight in songs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from genrescale.config.metrics import Metric
from genrescale.display.inline_svg import inline_svg
from genrescale.display.style import (
    COLORS,
    DASHES,
    MARKERS,
    MUTED,
    PANEL_INCHES,
    finish,
    panel_svg,
    png_bytes,
    short_count,
    style,
    svg_bytes,
)
from genrescale.report.fits import FamilyFit, family_fit
from genrescale.report.tables import Line, comparison_lines, order_families
from genrescale.studies.filled import FilledTable

AXES = {"log": "songs, log scale", "linear": "songs"}


@dataclass(frozen=True, eq=False)
class FamilyPoints:
    """One family and metric: our fit over seeds, and the paper's number by size."""

    fit: FamilyFit
    paper: dict[int, float]


@dataclass(frozen=True)
class Plot:
    """One figure of the page: a metric on one axis, as an SVG element."""

    metric: str
    axis: str
    svg: str


def family_points(table: FilledTable) -> dict[Metric, list[FamilyPoints]]:
    """The points of a scaling table by metric, families in the table's order. A metric without values is left out."""
    lines: list[Line] = comparison_lines(table.trials, table.metrics)
    families = order_families(table.trials)
    found = {}
    for metric in table.metrics:
        fits = [family_fit(family, metric, lines) for family in families]
        points = [FamilyPoints(fit, _paper(table, fit.family, metric)) for fit in fits]
        if any(fit.points for fit in fits):
            found[metric] = points
    return found


def _paper(table: FilledTable, family: str, metric: Metric) -> dict[int, float]:
    """By size, what the paper prints. A demo's sizes are not the paper's, whose numbers would stand at wrong places."""
    rows = [row for row in table.rows if row.trials and row.trials[0].family == family and not row.row.note]
    return {row.trials[0].planned.size: value for row in rows if (value := row.row.paper.get(metric.key)) is not None}


def draw_points(axes: Axes, metric: Metric, families: Sequence[FamilyPoints], axis: str) -> None:
    """Draw one metric. Artists of family ``i`` have a gid with ``family{i}-``, by which a page can hide them."""
    sizes = sorted({size for family in families for size in (*family.fit.seeds_by_size, *family.paper)})
    for i, family in enumerate(families):
        fit, color, marker = family.fit, COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        if fit.line and not fit.unsupported:
            grid, dashes = np.geomspace(min(sizes), max(sizes), 120), DASHES[i % len(DASHES)]
            line = fit.line.predict(grid)
            axes.plot(grid, line, color=color, linewidth=1.6, linestyle=dashes, gid=f"family{i}-line")
        means = {size: sum(values) / len(values) for size, values in fit.seeds_by_size.items()}
        _marks(axes, means.items(), f"family{i}-means", color=color, marker="_", markersize=16, markeredgewidth=2.2)
        look = {"marker": marker, "markersize": 5.5, "markerfacecolor": "white", "markeredgewidth": 1.5}
        _marks(axes, fit.points, f"family{i}-seeds", color=color, **look)
        look = {"marker": marker, "markersize": 9, "markerfacecolor": "none", "markeredgecolor": MUTED}
        _marks(axes, family.paper.items(), f"family{i}-paper", **look)
    if axis == "log":
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(min(sizes) / 1.25, max(sizes) * 1.25)
        axes.set_xticks(sizes)
    axes.xaxis.set_major_formatter(FuncFormatter(short_count))
    finish(axes, metric.label, metric.better, f"training {AXES[axis]}")


def _marks(axes: Axes, points: Collection[tuple[int, float]], gid: str, **style: Any) -> None:
    """Draw marks without a line; none if there are no points, so that the figure has no empty group."""
    if points:
        axes.plot([size for size, _ in points], [value for _, value in points], linestyle="none", gid=gid, **style)


def plots(table: FilledTable) -> list[Plot]:
    """Every metric of the table on both axes."""
    drawn = []
    for metric, families in family_points(table).items():
        for axis in AXES:
            svg = panel_svg(partial(draw_points, metric=metric, families=families, axis=axis), PANEL_INCHES)
            prefix = f"{metric.key}-{axis}-"
            label = f"{metric.label} ({metric.better}) against training songs, {axis} axis. {_told(families)}"
            drawn.append(Plot(metric.key, axis, inline_svg(svg, prefix, _titles(metric, families), label)))
    return drawn


def _told(families: Sequence[FamilyPoints]) -> str:
    """The means, for readers who cannot see the figure."""
    parts = []
    for family in families:
        means = [f"{sum(v) / len(v):.4f} with {size:,}" for size, v in family.fit.seeds_by_size.items()]
        parts.append(f"{family.fit.family}: {', '.join(means) or 'no values'}.")
    return " ".join(parts)


def _titles(metric: Metric, families: Sequence[FamilyPoints]) -> dict[str, list[str]]:
    """What each mark says under the mouse."""
    titles: dict[str, list[str]] = {}
    for i, family in enumerate(families):
        name, fit = family.fit.family, family.fit
        if fit.points:
            texts = [f"{name}, {size:,} songs: {metric.label} {value:.4f} (one seed)" for size, value in fit.points]
            means = {size: sum(values) / len(values) for size, values in fit.seeds_by_size.items()}
            titles[f"family{i}-seeds"] = texts
            titles[f"family{i}-means"] = [f"{name}, {s:,} songs: mean {m:.4f}" for s, m in means.items()]
        if family.paper:
            titles[f"family{i}-paper"] = [f"the paper, {name}, {s:,} songs: {v:.4f}" for s, v in family.paper.items()]
    return titles


def scaling_files(table: FilledTable) -> dict[str, bytes]:
    """All metrics side by side as PNG and SVG, by file name; none before a run has finished."""
    points = family_points(table)
    if not points:
        return {}
    with style():
        width, height = PANEL_INCHES
        figure = Figure(figsize=(width * len(points), height + 0.5), layout="constrained", facecolor="white")
        panels = np.atleast_1d(figure.subplots(1, len(points)))
        for axes, (metric, families) in zip(panels, points.items(), strict=True):
            draw_points(axes, metric, families, "log")
        first = next(iter(points.values()))
        handles = [
            axes_line
            for i in range(len(first))
            for axes_line in panels[0].lines
            if axes_line.get_gid() == f"family{i}-seeds"
        ]
        figure.legend(
            handles, [family.fit.family for family in first], loc="outside upper left", ncols=len(first), frameon=False
        )
        return {"scaling.png": png_bytes(figure), "scaling.svg": svg_bytes(figure)}
