"""Render the page of a report: one HTML file with inline styles and figures, which loads nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from genrescale.display.html import data_uri, render_template
from genrescale.display.style import CURVE_INCHES, DASHES, MARKERS, PANEL_INCHES, dark_svg, panel_svg
from genrescale.display.text import count_text
from genrescale.report.baselines import BaselinePath, baseline_paths
from genrescale.report.checks import capped, planned_only
from genrescale.report.compute import draw_isoflops, flops_text
from genrescale.report.curves import CurveLine
from genrescale.report.figure import color_of, draw_curves, draw_optimum, draw_scaling
from genrescale.report.fits import FamilyFit
from genrescale.report.laws import LEAD
from genrescale.report.tables import FIRST_FAMILY, VAL_LOSS, Metric
from genrescale.report.trials import TrialOutcome
from genrescale.report.words import chance, crossing_text, lead_text, parameters_text, probability_text
from genrescale.results.stream_stats import COLUMNS, LEGEND, slow_sentence, slow_stage_of, stream_cells, streams_of
from genrescale.telemetry.progress import format_duration

if TYPE_CHECKING:
    from genrescale.report import Report


@dataclass(frozen=True)
class Picture:
    """One figure of the page: data URIs for a light and a dark page, an alternative text and a caption."""

    key: str
    uri: str
    dark_uri: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Swatch:
    """A legend entry: the family's colour, marker and line style."""

    family: str
    color: str
    marker: str
    dashed: bool


def _scaling_alt(metric: Metric, fits: Sequence[FamilyFit], baselines: Sequence[BaselinePath]) -> str:
    """Describe the means in the panel, for readers who cannot see it."""
    parts = []
    for fit in fits:
        means = [f"{sum(v) / len(v):.4f} at {count_text(size, 'song')}" for size, v in fit.seeds_by_size.items()]
        parts.append(f"{fit.family}: {', '.join(means) or 'no values'}")
    for name, points in baselines:
        values = [f"{value:.4f} at {count_text(size, 'song')}" for size, value in points]
        parts.append(f"{name}: {', '.join(values)}")
    return f"{metric.label} ({metric.better}) against training songs. " + ". ".join(parts) + "."


def _picture(key: str, svg: bytes, alt: str, caption: str) -> Picture:
    return Picture(key, data_uri(svg), data_uri(dark_svg(svg)), alt, caption)


def scaling_pictures(report: Report) -> list[Picture]:
    """A picture of each metric that has values."""
    pictures = []
    for metric in report.metrics:
        fits = [fit for fit in report.fits if fit.metric == metric]
        if not any(fit.points for fit in fits):
            continue
        crossed = [c for c in report.crossings if c.metric == metric]
        several, paths = len(crossed) > 1, baseline_paths(report.baselines, metric)
        captions = [f"{c.first} and {c.second}: {crossing_text(c)}" if several else crossing_text(c) for c in crossed]
        svg = panel_svg(partial(draw_scaling, fits=fits, crossed=crossed, baselines=paths), PANEL_INCHES)
        caption = " ".join(captions) or "One family: there is nothing to compare it with."
        pictures.append(_picture(metric.key, svg, _scaling_alt(metric, fits, paths), caption))
    return pictures


def isoflop_pictures(report: Report) -> list[Picture]:
    """A picture of each family of the axis of compute that has finished runs."""
    pictures = []
    for found in report.computes:
        if not found.groups:
            continue
        svg = panel_svg(partial(draw_isoflops, found=found), PANEL_INCHES)
        texts = [f"{flops_text(group.flops)}: {len(group.points)} runs" for group in found.groups]
        alt = f"Error of {found.family} against parameters, a curve for each budget of operations. {'; '.join(texts)}."
        caption = f"{found.family.capitalize()}. A cross is the lowest point of a parabola."
        pictures.append(_picture(f"isoflop-{found.family}", svg, alt, caption))
    return pictures


def _curve_limits(lines: Sequence[CurveLine]) -> tuple[float, float] | None:
    """Return value limits common to all families, so that their panels can be compared."""
    values = [value for line in lines for value in (*line.values, *line.train_values) if math.isfinite(value)]
    if not values:
        return None
    margin = 0.06 * (max(values) - min(values)) or 0.01
    return min(values) - margin, max(values) + margin


def curve_pictures(report: Report) -> list[Picture]:
    pictures = []
    for metric in (VAL_LOSS, report.main):
        name = VAL_LOSS.key if metric == VAL_LOSS else f"val_{metric.key}"
        label = VAL_LOSS.label if metric == VAL_LOSS else f"Validation {metric.label}"
        limits = _curve_limits(report.curves[name])
        for family in report.families:
            lines = [line for line in report.curves[name] if line.family == family]
            if not lines:
                continue
            draw = partial(
                draw_curves,
                lines=lines,
                title=f"{label}, {family}",
                note=metric.better,
                color=color_of(report.families, family),
            )
            ends = [f"{line.values[-1]:.4f} ({count_text(line.size, 'song')}, seed {line.seed})" for line in lines]
            alt = f"{label} of {family} against training steps, one line per run. Last values: {', '.join(ends)}."
            caption = f"{label} of {family}, {count_text(len(lines), 'run')}"
            pictures.append(_picture(f"{name}-{family}", panel_svg(draw, CURVE_INCHES, limits), alt, caption))
    return pictures


def optimum_pictures(report: Report) -> list[Picture]:
    """How the best value of each searched field moves with the size, where it is known at several."""
    pictures = []
    for name in report.search.moving if report.search else []:
        assert report.search is not None
        families = sorted(report.search.families, key=lambda family: family != FIRST_FAMILY)  # as in other figures
        paths = [(family, report.search.path(name, family)) for family in families]
        field = name.rpartition(".")[2]
        svg = panel_svg(partial(draw_optimum, paths=paths, field=field), PANEL_INCHES)
        texts = [f"{family}: {_path_text(path)}" for family, path in paths if path]
        alt = f"Best {field} against training songs. {'. '.join(texts)}."
        pictures.append(_picture(f"optimum-{field}", svg, alt, f"{'; '.join(texts)}."))
    return pictures


def _path_text(path: Sequence[tuple[int, float]]) -> str:
    return ", ".join(f"{value:.4g} at {count_text(size, 'song')}" for size, value in path)


def _swatches(report: Report) -> list[Swatch]:
    return [
        Swatch(family, color_of(report.families, family), MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)] != "solid")
        for i, family in enumerate(report.families)
    ]


def cost_text(trials: Sequence[TrialOutcome]) -> str:
    """Describe the total cost of the finished runs."""
    unique = {trial.planned.run_id: trial.row for trial in planned_only(trials) if trial.row}
    rows = list(unique.values())
    if not rows:
        return "No run has finished."
    total, training = sum(row.seconds_total for row in rows), sum(row.seconds_training for row in rows)
    delivered, fetched = (sum(getattr(row, f"bytes_{what}") for row in rows) / 1e9 for what in ("delivered", "fetched"))
    return (
        f"{count_text(len(rows), 'finished run')} took {format_duration(total)} in total, {format_duration(training)} "
        f"of it training. {fetched:.2f} GB of audio were fetched and {delivered:.2f} GB delivered as crops."
    )


def bytes_text(count: int) -> str:
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def slope_scale(report: Report) -> int:
    """Return the number of songs that slopes refer to: the largest power of ten among the sizes."""
    largest = max((line.size for line in report.lines), default=1)
    return 10 ** (len(str(largest)) - 1)


def render_page(report: Report) -> str:
    """Render the whole page as text."""
    pictures = scaling_pictures(report)
    filters = {
        "size": bytes_text,
        "slow_stage": slow_stage_of,
        "streams": streams_of,
        "slow_sentence": slow_sentence,
        "stream_cells": stream_cells,
        "parameters": parameters_text,
        "lead_text": lead_text,
        "probability": probability_text,
        "flops": flops_text,
    }
    return render_template(
        "genrescale.report",
        filters,
        report=report,
        capped=capped,
        first=next((picture for picture in pictures if picture.key == report.main.key), None),
        scaling=[picture for picture in pictures if picture.key != report.main.key],
        curves=curve_pictures(report),
        optima=optimum_pictures(report),
        isoflops=isoflop_pictures(report),
        swatches=_swatches(report),
        cost=cost_text(report.trials),
        stream_columns=list(COLUMNS),
        stream_legend=" ".join(LEGEND),
        scale=slope_scale(report),
        many_pairs=len({(d.first, d.second) for d in report.differences}) > 1,
        chance=chance,
        lead=f"{LEAD:g}",
    )
