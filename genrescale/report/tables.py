"""The numbers of a report: trials with their result rows, cells over seeds, the comparison and its differences.

A cell is one metric over the seeds of one setting. Its spread is the standard deviation over seeds (n - 1), None with
one seed. A planned trial without a result row is shown as missing, not as zero, and is not left out.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genrescale import scaling
from genrescale.config.metrics import METRICS, Metric
from genrescale.results import PlannedTrial, ResultRow, read_planned, read_sound_results
from genrescale.results.typed import read_typed
from genrescale.storage.json_bytes import JSON_BYTES
from genrescale.storage.store import Store

MISSING = "missing"
UNDEFINED = "–"  # noqa: RUF001
UNPLANNED = "unplanned"
FIRST_FAMILY = "waveform"  # differences are waveform - spectrogram, as the paper discusses them


PR_AUC, ACCURACY, VAL_LOSS = METRICS["pr_auc"], METRICS["accuracy"], METRICS["val_loss"]
TABLE_1_METRICS = (METRICS["roc_auc"], PR_AUC, METRICS["rmse"])


def flat_config(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a config: ``{"data": {"size": 1}}`` -> ``{"data.size": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flat_config(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


@dataclass(frozen=True)
class TrialOutcome:
    """A planned trial, its result row (None if not finished), and its last error, if any."""

    planned: PlannedTrial
    row: ResultRow | None
    error: str = ""

    @property
    def family(self) -> str:
        labels = self.planned.config.get("data", {}).get("labels", "true")
        return self.planned.model if labels == "true" else f"{self.planned.model} ({labels} labels)"

    @property
    def status(self) -> str:
        return "finished" if self.row else MISSING

    def value(self, metric: Metric) -> float | None:
        """Return the metric's value; None if the run is missing or the metric is undefined."""
        value = getattr(self.row, metric.key) if self.row else None
        return None if value is None or math.isnan(value) else float(value)


def _unplanned(row: ResultRow) -> PlannedTrial:
    return PlannedTrial(row.run_id, UNPLANNED, row.model, row.size, row.seed, row.lr, {}, row.config)


def read_trials(files: Store) -> tuple[list[TrialOutcome], dict[str, str], dict[str, str]]:
    """Read the planned trials in the order of the plan, then the rows of unplanned runs.

    Also returns the errors of runs, and the part of them that is about unreadable rows, both by run id. A run whose row
    cannot be read is shown as not finished.
    """
    rows, refused = read_sound_results(files)
    errors = read_failures(files) | refused
    planned = read_planned(files)
    extra = [_unplanned(rows[run_id]) for run_id in sorted(set(rows) - {trial.run_id for trial in planned})]
    all_trials = [*planned, *extra]
    trials = [TrialOutcome(trial, rows.get(trial.run_id), errors.get(trial.run_id, "")) for trial in all_trials]
    return trials, errors, refused


def read_failures(files: Store) -> dict[str, str]:
    """Read the last error of each failed run (run id -> error) from ``failures.json``; empty if there is none."""
    if not files.exists("failures.json"):
        return {}
    data = files.read_bytes("failures.json", JSON_BYTES)
    failures = read_typed(list[dict[str, str]], data, f"{files.uri}/failures.json")
    return {failure.get("run_id", ""): failure.get("error", "") for failure in failures}


@dataclass(frozen=True)
class Cell:
    """One metric over seeds: its values in finished runs, and the numbers of finished and planned runs."""

    values: tuple[float, ...]
    finished: int
    planned: int

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def text(self) -> str:
        if not self.finished:
            return MISSING
        return UNDEFINED if self.mean is None else f"{self.mean:.4f}"

    @property
    def spread_text(self) -> str:
        return "" if self.spread is None else f"± {self.spread:.4f}"


def cell(trials: Sequence[TrialOutcome], metric: Metric) -> Cell:
    values = tuple(value for trial in trials if (value := trial.value(metric)) is not None)
    return Cell(values, sum(trial.row is not None for trial in trials), len(trials))


@dataclass(frozen=True)
class Line:
    """One line of the comparison: a family at a size, with a cell per metric."""

    family: str
    size: int
    trials: tuple[TrialOutcome, ...]
    cells: dict[str, Cell]

    @property
    def finished(self) -> int:
        return sum(trial.row is not None for trial in self.trials)

    @property
    def seeds_text(self) -> str:
        total = len(self.trials)
        return f"{total}" if self.finished == total else f"{self.finished} of {total} ({total - self.finished} missing)"


def order_families(trials: Sequence[TrialOutcome]) -> list[str]:
    """Return the families in the order of the plan, but waveform first."""
    return sorted(dict.fromkeys(trial.family for trial in trials), key=lambda name: name != FIRST_FAMILY)


def comparison_lines(grid: Sequence[TrialOutcome], metrics: Sequence[Metric]) -> list[Line]:
    """Return a line for each size and family, as in the paper's Table 1: largest size first."""
    sizes = sorted({trial.planned.size for trial in grid}, reverse=True)
    lines = []
    for size, family in itertools.product(sizes, order_families(grid)):
        members = tuple(trial for trial in grid if (trial.planned.size, trial.family) == (size, family))
        if members:
            lines.append(Line(family, size, members, {metric.key: cell(members, metric) for metric in metrics}))
    return lines


@dataclass(frozen=True)
class Difference:
    """Mean of ``first`` minus mean of ``second`` at one size; ``value`` is None if either is missing.

    ``spread`` is the standard deviation over seeds, pooled over both. ``t_interval`` is Welch's; ``bootstrap``
    resamples the seeds.
    """

    metric: Metric
    first: str
    second: str
    size: int
    value: float | None
    missing: bool
    spread: float | None
    t_interval: scaling.Interval | None
    bootstrap: scaling.Interval | None

    @property
    def leader(self) -> str | None:
        if not self.value:
            return None
        return self.first if self.metric.gain(self.value) > 0 else self.second

    @property
    def times_spread(self) -> float | None:
        return abs(self.value) / self.spread if self.value is not None and self.spread else None

    @property
    def clear(self) -> bool:
        """Whether Welch's 95 % interval excludes zero, i.e. the difference exceeds the variation over seeds."""
        return self.t_interval is not None and self.t_interval[0] * self.t_interval[1] > 0


def _difference(metric: Metric, first: Line, second: Line) -> Difference:
    a, b = first.cells[metric.key], second.cells[metric.key]
    value = None if a.mean is None or b.mean is None else a.mean - b.mean
    return Difference(
        metric,
        first.family,
        second.family,
        first.size,
        value,
        missing=not (a.finished and b.finished),
        spread=scaling.pooled_spread([a.values, b.values]) if value is not None else None,
        t_interval=scaling.welch_interval(a.values, b.values),
        bootstrap=scaling.bootstrap_difference(a.values, b.values),
    )


def differences(lines: Sequence[Line], metrics: Sequence[Metric]) -> list[Difference]:
    """Compute the differences for each pair of families, size (ascending) and metric."""
    computed = []
    by_place = {(line.family, line.size): line for line in lines}
    families = sorted(dict.fromkeys(line.family for line in lines), key=lambda name: name != FIRST_FAMILY)
    for (first, second), size in itertools.product(
        itertools.combinations(families, 2), sorted({line.size for line in lines})
    ):
        if (first, size) in by_place and (second, size) in by_place:
            pair = by_place[first, size], by_place[second, size]
            computed.extend(_difference(metric, *pair) for metric in metrics)
    return computed
