"""The axis of compute in a report: which model size is best for a budget of operations, by two approaches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from genrescale.config.metrics import Metric
from genrescale.display.style import COLORS, DASHES, MARKERS, finish, short_count
from genrescale.report.trials import COMPUTE, TrialOutcome
from genrescale.scaling.compute import (
    ComputePoint,
    Disagreement,
    IsoFlop,
    ParametricFit,
    clip_cost,
    disagreement,
    isoflops,
    parametric_fit,
)


@dataclass(frozen=True, eq=False)
class ComputeRun:
    """A run of the axis. ``point`` is None until it has finished; its error is 1 - metric where higher is better."""

    trial: TrialOutcome
    point: ComputePoint | None

    @property
    def width(self) -> float:
        return self.trial.planned.layers["width"]

    @property
    def budget(self) -> float:
        return self.trial.planned.layers["budget"]


@dataclass(frozen=True, eq=False)
class FamilyCompute:
    """One family: its runs, the parabola of each budget (approach 2), the fit to all runs (approach 3), and both.

    What the runs do not determine is None, with the reason beside it.
    """

    family: str
    metric: Metric
    runs: tuple[ComputeRun, ...]
    groups: tuple[IsoFlop, ...]
    fit: ParametricFit | None
    both: Disagreement | None
    unknown: str

    @property
    def best(self) -> list[tuple[IsoFlop, float | None]]:
        """Each budget's parabola, and the best number of parameters by approach 3."""
        if self.fit is None:
            return [(group, None) for group in self.groups]
        cost = clip_cost([run.point for run in self.runs if run.point])
        return [(group, self.fit.best_params(group.flops, cost)) for group in self.groups]


def family_computes(trials: Sequence[TrialOutcome], metric: Metric) -> list[FamilyCompute]:
    """Analyse the runs of the axis by family; empty without such an axis."""
    chosen = [trial for trial in trials if trial.planned.axis == COMPUTE]
    return [
        _of_family(family, metric, [trial for trial in chosen if trial.family == family])
        for family in dict.fromkeys(trial.family for trial in chosen)
    ]


def _of_family(family: str, metric: Metric, trials: Sequence[TrialOutcome]) -> FamilyCompute:
    runs = tuple(ComputeRun(trial, _point(trial, metric)) for trial in trials)
    points = [run.point for run in runs if run.point]
    # a budget is met to a step, so runs of one differ by less than the next budget does
    groups = tuple(isoflops(points)) if points else ()
    try:
        fit = parametric_fit(points)
        if fit.unsupported:
            return FamilyCompute(family, metric, runs, groups, None, None, f"approach 3: {fit.unsupported}")
    except ValueError as error:
        return FamilyCompute(family, metric, runs, groups, None, None, str(error))
    try:
        return FamilyCompute(family, metric, runs, groups, fit, disagreement(points), "")
    except ValueError as error:
        return FamilyCompute(family, metric, runs, groups, fit, None, str(error))


def _point(trial: TrialOutcome, metric: Metric) -> ComputePoint | None:
    value, row = trial.value(metric), trial.row
    if row is None or value is None:
        return None
    error = 1 - value if metric.higher_is_better else value
    clips = row.steps * trial.planned.config["data"]["batch"]
    return ComputePoint(row.num_params, clips, trial.planned.layers["clip_flops"], error) if error > 0 else None


def flops_text(flops: float) -> str:
    """Operations with a prefix: ``3.2e12`` -> ``3.2 TFLOP``."""
    power = min(6, max(0, int(math.log10(flops) // 3))) if flops > 0 else 0
    return f"{flops / 1000**power:.3g} {['', 'k', 'M', 'G', 'T', 'P', 'E'][power]}FLOP"


def draw_isoflops(axes: Axes, found: FamilyCompute) -> None:
    """Draw the error against parameters, a parabola for each budget where the runs give one, and its lowest point."""
    for i, group in enumerate(found.groups):
        color = COLORS[i % len(COLORS)]
        params, errors = [point.params for point in group.points], [point.error for point in group.points]
        marker, label = MARKERS[i % len(MARKERS)], flops_text(group.flops)
        axes.plot(params, errors, linestyle="none", label=label, color=color, marker=marker, markerfacecolor="white")
        if group.best_params is not None and group.error is not None:
            grid = np.geomspace(min(params), max(params), 60)
            curve = np.polyval(np.polyfit(np.log(params), errors, 2), np.log(grid))
            axes.plot(grid, curve, color=color, linewidth=1.4, linestyle=DASHES[i % len(DASHES)])
            axes.plot([group.best_params], [group.error], linestyle="none", marker="x", color=color)
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    sizes = sorted({point.params for group in found.groups for point in group.points})
    axes.set_xticks(sizes[:: max(1, len(sizes) // 4)])
    axes.xaxis.set_major_formatter(FuncFormatter(short_count))
    axes.legend(frameon=False, fontsize=8, title="operations", title_fontsize=8)
    name = f"1 − {found.metric.label}" if found.metric.higher_is_better else found.metric.label  # noqa: RUF001
    finish(axes, f"{name}, {found.family}", "lower is better", "parameters")
