"""Figures of a report, metrics against dataset size and learning curves, drawn on Figure objects without global state.

Families differ in colour, marker and line style, so that figures are readable in grey, too. The size axis is
logarithmic, so a straight line in songs, as in Pons et al. 2018, looks curved.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from genrescale.display.style import (
    COLORS,
    DASHES,
    INK,
    MARKERS,
    MUTED,
    PANEL_INCHES,
    finish,
    png_bytes,
    short_count,
    style,
)
from genrescale.display.text import song_text
from genrescale.report.baselines import BaselinePath
from genrescale.report.curves import CurveLine
from genrescale.report.fits import Crossing, FamilyFit
from genrescale.report.laws import curve_noun

_TRAINING = (0, (2, 1.5))
_BASELINE_DASHES = ("solid", (0, (4, 2)), (0, (1, 2)))
_DECADE = 5.0  # values that differ by more times than this have a logarithmic axis


def color_of(families: Sequence[str], family: str) -> str:
    return COLORS[families.index(family) % len(COLORS)]


def _draw_family(axes: Axes, fit: FamilyFit, position: int, shift: float, sizes: Sequence[int]) -> None:
    """Draw one family. ``shift`` multiplies the sizes, so that points of different families do not overlap."""
    color = COLORS[position % len(COLORS)]
    if fit.curve:
        grid = np.geomspace(min(sizes), max(sizes), 120)
        axes.plot(grid, fit.curve.predict(grid), color=color, linewidth=1.6, linestyle=DASHES[position % len(DASHES)])
        if band := fit.band(grid):
            axes.fill_between(grid, *band, color=color, alpha=0.10, linewidth=0)
    points = fit.points
    half = (max(sizes) / min(sizes)) ** 0.025
    for size, values in fit.seeds_by_size.items():
        mean, middle = sum(values) / len(values), size * shift
        axes.plot([middle / half, middle * half], [mean, mean], color=color, linewidth=2.2, solid_capstyle="butt")
    axes.plot(
        [size * shift for size, _ in points],
        [value for _, value in points],
        linestyle="none",
        marker=MARKERS[position % len(MARKERS)],
        markersize=5.5,
        markerfacecolor="white",
        markeredgecolor=color,
        markeredgewidth=1.5,
    )


def _limit_values(axes: Axes, fits: Sequence[FamilyFit]) -> None:
    """Set the value axis by points and lines only, because a band from three points may be much wider."""
    values = [value for fit in fits for _, value in fit.points]
    values += [float(v) for fit in fits if fit.curve for v in fit.curve.predict(list(fit.seeds_by_size))]
    margin = 0.12 * (max(values) - min(values)) or 0.01
    axes.set_ylim(min(values) - margin, max(values) + margin)


def _mark_crossing(axes: Axes, c: Crossing, row: int) -> None:
    """Draw a vertical line at a crossing within the measured sizes that the points support."""
    if c.at is None or not c.inside or c.unsupported:
        return
    axes.axvline(c.at, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
    offset, side = (4, "left") if c.at < (c.smallest * c.largest) ** 0.5 else (-4, "right")
    axes.annotate(
        f"{curve_noun(c.law)} cross at\nabout {song_text(c.at)}",
        (c.at, 0.02 + 0.13 * row),
        xycoords=("data", "axes fraction"),
        xytext=(offset, 0),
        textcoords="offset points",
        ha=side,
        va="bottom",
        fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1},
    )


def _draw_baselines(axes: Axes, paths: Sequence[BaselinePath], sizes: Sequence[int]) -> None:
    """Draw each baseline as a thin grey line with its name at the end, at the sizes of the models; widen the axis."""
    for (name, points), dashes in zip(paths, itertools.cycle(_BASELINE_DASHES), strict=False):
        shown = [(size, value) for size, value in points if size in sizes]
        if not shown:
            continue
        x, y = zip(*shown, strict=True)
        axes.plot(x, y, color=MUTED, linewidth=0.9, linestyle=dashes, marker="_", markersize=7)
        label = {"xytext": (0, 3), "textcoords": "offset points", "ha": "right", "fontsize": 7.5, "color": MUTED}
        axes.annotate(name, shown[-1], **label)
        low, high = axes.get_ylim()
        margin = 0.06 * (max(*y, high) - min(*y, low))
        axes.set_ylim(min(low, min(y) - margin), max(high, max(y) + margin))


def draw_scaling(
    axes: Axes, fits: Sequence[FamilyFit], crossed: Sequence[Crossing], baselines: Sequence[BaselinePath] = ()
) -> None:
    """Draw one metric against songs: points for seeds, a bar at each mean, and what the points support.

    That is a curve with its 95 % band per family, and the crossing. Baselines are thin grey lines.
    """
    metric = fits[0].metric
    sizes = sorted({size for fit in fits for size in fit.seeds_by_size})
    if sizes:
        for position, fit in enumerate(fits):
            step = (max(sizes) / min(sizes)) ** 0.02
            _draw_family(axes, fit, position, step ** (position - (len(fits) - 1) / 2), sizes)
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(sizes)
        axes.xaxis.set_major_formatter(FuncFormatter(short_count))
        axes.set_xlim(min(sizes) / 1.25, max(sizes) * 1.25)
        _limit_values(axes, fits)
        _draw_baselines(axes, baselines, sizes)
    else:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set_xticks([])
        axes.set_yticks([])
    for row, c in enumerate(crossed):
        _mark_crossing(axes, c, row)
    finish(axes, metric.label, metric.better, "training songs (log scale)")


def draw_optimum(axes: Axes, paths: Sequence[tuple[str, Sequence[tuple[int, float]]]], field: str) -> None:
    """Draw the best values of a searched field against songs, a line for each family that has some."""
    values, sizes = [value for _, path in paths for _, value in path], {size for _, path in paths for size, _ in path}
    for position, (family, path) in enumerate(paths):
        axes.plot(
            [size for size, _ in path],
            [value for _, value in path],
            color=COLORS[position % len(COLORS)],
            linestyle=DASHES[position % len(DASHES)],
            marker=MARKERS[position % len(MARKERS)],
            markerfacecolor="white",
            linewidth=1.6,
            label=family,
        )
    finish(axes, f"Best {field}", "of finished trials", "training songs (log scale)")
    if min(values) > 0 and max(values) / min(values) > _DECADE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if len(paths) > 1:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=MUTED, handlelength=3.0)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(sorted(sizes))
    axes.xaxis.set_major_formatter(FuncFormatter(short_count))
    axes.set_xlim(min(sizes) / 1.25, max(sizes) * 1.25)


def _shade(color: str, strength: float) -> tuple[float, float, float]:
    """Mix ``color`` with white; strength 1 is the colour itself."""
    red, green, blue = (1 - strength * (1 - channel) for channel in to_rgb(color))
    return red, green, blue


def draw_curves(axes: Axes, lines: Sequence[CurveLine], title: str, note: str, color: str) -> None:
    """Draw validation against steps, one line per run, the training loss dotted; more songs: a darker, thicker line."""
    sizes = sorted({line.size for line in lines})
    for line in lines:
        rank = (sizes.index(line.size) + 1) / len(sizes)
        shade = _shade(color, 0.35 + 0.65 * rank)
        axes.plot(line.steps, line.values, color=shade, linewidth=0.9 + 0.8 * rank)
        if line.train_values:
            axes.plot(line.train_steps, line.train_values, color=shade, linewidth=0.9, linestyle=_TRAINING)
    handles = [
        Line2D([], [], color=_shade(color, 0.35 + 0.65 * rank), linewidth=0.9 + 0.8 * rank, label=short_count(size))
        for rank, size in ((((i + 1) / len(sizes)), size) for i, size in enumerate(sizes))
    ]
    if any(line.train_values for line in lines):
        handles.append(Line2D([], [], color=MUTED, linewidth=0.9, linestyle=_TRAINING, label="training"))
    if handles:
        axes.legend(handles=handles, title="songs", frameon=False, fontsize=8.5, title_fontsize=8.5, labelcolor=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(short_count))
    finish(axes, title, note, "training steps")


def scaling_png(
    panels: Sequence[tuple[Sequence[FamilyFit], Sequence[Crossing], Sequence[BaselinePath]]], families: Sequence[str]
) -> bytes:
    """Draw all metrics side by side, with a legend of the families."""
    with style():
        width, height = PANEL_INCHES
        figure = Figure(figsize=(width * max(len(panels), 1), height + 0.5), layout="constrained", facecolor="white")
        for axes, panel in zip(np.atleast_1d(figure.subplots(1, max(len(panels), 1))), panels, strict=False):
            draw_scaling(axes, *panel)
        handles = [
            Line2D(
                [],
                [],
                color=COLORS[i % len(COLORS)],
                linestyle=DASHES[i % len(DASHES)],
                marker=MARKERS[i % len(MARKERS)],
                markerfacecolor="white",
                label=family,
            )
            for i, family in enumerate(families)
        ]
        if handles:
            figure.legend(
                handles=handles, loc="outside upper left", ncols=len(handles), frameon=False, handlelength=3.5
            )
        return png_bytes(figure)
