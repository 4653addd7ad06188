"""The axes of a sweep beside its grid, learning rate and layers, and the list of all its runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from genrescale.report.tables import VAL_LOSS, Cell, Metric, cell, order_families
from genrescale.report.trials import COMPUTE, TrialOutcome, flat_config

_AXIS_ORDER = ("grid", "lr", "layers", COMPUTE, "search")


@dataclass(frozen=True)
class Run:
    """A run, the axes that it belongs to, and its setting on the axes beside the grid."""

    trial: TrialOutcome
    axes: str
    setting: str

    @property
    def place(self) -> str:
        """``grid``, or the setting that differs from the grid; both if the run belongs to both."""
        outside = [axis for axis in self.axes.split(", ") if axis not in ("lr", "layers")]
        return "; ".join([*outside, *([self.setting] if self.setting else [])])


def list_runs(trials: Sequence[TrialOutcome]) -> list[Run]:
    """List each run once, grid first, then the other axes, by family, size and seed."""
    places: dict[str, list[TrialOutcome]] = {}
    for trial in trials:
        places.setdefault(trial.planned.run_id, []).append(trial)
    families = order_families(trials)

    def position(run: Run) -> tuple[int, int, int, float, str, int]:
        axis, plan = run.axes.split(", ")[0], run.trial.planned
        rank = _AXIS_ORDER.index(axis) if axis in _AXIS_ORDER else len(_AXIS_ORDER)
        return rank, families.index(run.trial.family), plan.size, plan.lr, run.setting, plan.seed

    runs = []
    for same_run in places.values():
        axes = dict.fromkeys(trial.planned.axis for trial in same_run)
        settings = dict.fromkeys(_setting(trial) for trial in same_run)
        runs.append(Run(same_run[0], ", ".join(axes), ", ".join(text for text in settings if text)))
    return sorted(runs, key=position)


def _setting(trial: TrialOutcome) -> str:
    if trial.planned.axis == "lr":
        return f"lr {trial.planned.lr:g}"
    return ", ".join(f"{name} {count:g}" for name, count in sorted(trial.planned.layers.items()))


@dataclass(frozen=True)
class AxisLine:
    """One value of an axis for one family and size. ``best`` marks the lowest mean validation loss on the axis.

    ``at_edge`` means that the best value is the smallest or largest one tested.
    """

    family: str
    size: int
    value: tuple[tuple[str, float], ...]
    trials: tuple[TrialOutcome, ...]
    cells: dict[str, Cell]
    best: bool
    at_edge: bool

    @property
    def value_text(self) -> str:
        """The setting as text: ``0.001`` for a learning rate, ``backend_layers 2`` for a dial."""
        return ", ".join(f"{value:g}" if key == "lr" else f"{key} {value:g}" for key, value in self.value) or "default"


def _axis_keys(trial: TrialOutcome) -> tuple[str, ...]:
    if trial.planned.axis == "lr":
        return ("optim.lr",)
    return tuple(f"model.dials.{name}" for name in sorted(trial.planned.layers))


def _axis_value(trial: TrialOutcome, keys: Sequence[str]) -> tuple[tuple[str, float], ...]:
    flat = {"optim.lr": trial.planned.lr} | flat_config(trial.planned.config)
    flat |= {f"model.dials.{name}": value for name, value in trial.planned.layers.items()}
    return tuple((key.rpartition(".")[2], flat[key]) for key in keys if key in flat)


def _rest(trial: TrialOutcome, keys: Sequence[str]) -> str:
    """Serialise a trial's configuration without the axis, to find trials that differ in nothing else."""
    rest = {key: value for key, value in flat_config(trial.planned.config).items() if key not in keys}
    return json.dumps([trial.family, trial.planned.size, trial.planned.seed, rest], sort_keys=True)


def axis_lines(trials: Sequence[TrialOutcome], axis: str, metrics: Sequence[Metric]) -> list[AxisLine]:
    """Return the lines of one axis (``lr`` or ``layers``) by family, size and dial, in ascending order.

    A grid trial that differs from a trial of the axis only in the axis is one of its points, because it is not run
    twice.
    """
    lines: list[AxisLine] = []
    chosen = [trial for trial in trials if trial.planned.axis == axis]
    places = dict.fromkeys((trial.family, trial.planned.size, _axis_keys(trial)) for trial in chosen)
    for family, size, keys in sorted(places, key=lambda place: order_families(chosen).index(place[0])):
        members = [t for t in chosen if (t.family, t.planned.size, _axis_keys(t)) == (family, size, keys)]
        rests = {_rest(trial, keys) for trial in members}
        members += [trial for trial in trials if trial.planned.axis == "grid" and _rest(trial, keys) in rests]
        unique = list({trial.planned.run_id: trial for trial in members}.values())
        lines.extend(_lines_of_axis(family, size, unique, keys, metrics))
    return lines


def _lines_of_axis(
    family: str, size: int, members: Sequence[TrialOutcome], keys: Sequence[str], metrics: Sequence[Metric]
) -> list[AxisLine]:
    values = sorted({_axis_value(trial, keys) for trial in members})
    groups = {value: tuple(trial for trial in members if _axis_value(trial, keys) == value) for value in values}
    losses = {value: cell(group, VAL_LOSS).mean for value, group in groups.items()}
    known = {value: loss for value, loss in losses.items() if loss is not None}
    # Chosen on validation songs: a choice on test songs would bias the chosen value's test score.
    best = {value for value, loss in known.items() if loss == min(known.values())} if len(known) > 1 else set()
    return [
        AxisLine(
            family,
            size,
            value,
            group,
            {metric.key: cell(group, metric) for metric in (VAL_LOSS, *metrics)},
            best=value in best,
            at_edge=best == {value} and all(values) and value in (values[0], values[-1]),
        )
        for value, group in groups.items()
    ]
