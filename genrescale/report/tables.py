"""The numbers of a report: cells over seeds, the comparison and its differences.

A cell is one metric over the seeds of one setting. Its spread is the standard deviation over seeds (n - 1), None with
one seed.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from genrescale import scaling
from genrescale.config.metrics import METRICS, Metric
from genrescale.report.songs import Scored, TestSongs
from genrescale.report.trials import MISSING, TrialOutcome

UNDEFINED = "–"  # noqa: RUF001
FEW_TEST_SONGS = 100
FIRST_FAMILY = "waveform"  # differences are waveform - spectrogram, as the paper discusses them


PR_AUC, ACCURACY, VAL_LOSS = METRICS["pr_auc"], METRICS["accuracy"], METRICS["val_loss"]
TABLE_1_METRICS = (METRICS["roc_auc"], PR_AUC, METRICS["rmse"])


def shown_metrics(trials: Sequence[Scored]) -> list[Metric]:
    """The metrics that something finished defines, in the paper's order; accuracy first, which has one label a song.

    Before a run or baseline has finished, those of the paper.
    """
    candidates = [ACCURACY, *TABLE_1_METRICS]
    known = [metric for metric in candidates if any(trial.value(metric) is not None for trial in trials)]
    return known or list(TABLE_1_METRICS)


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

    ``spread`` is the standard deviation over seeds, pooled over both. ``seed_interval`` is Welch's, over seeds;
    ``song_interval`` is over resampled test songs. ``num_seeds`` is the smaller number of the two.
    """

    metric: Metric
    first: str
    second: str
    size: int
    value: float | None
    missing: bool
    num_seeds: int
    test_songs: int
    spread: float | None
    seed_interval: scaling.Interval | None
    song_interval: scaling.Interval | None

    @property
    def leader(self) -> str | None:
        if not self.value:
            return None
        return self.first if self.metric.gain(self.value) > 0 else self.second

    @property
    def times_spread(self) -> float | None:
        return abs(self.value) / self.spread if self.value is not None and self.spread else None

    @property
    def seeds_agree(self) -> bool:
        """Whether there are several seeds without any spread, which says nothing about the next seed."""
        return self.num_seeds > 1 and self.seed_interval is None

    @property
    def few_songs(self) -> bool:
        """Whether other test songs might have given no difference.

        Without score tables this is a bound, and only for a test that is small for any metric.
        """
        if self.song_interval is not None:
            return not _excludes_zero(self.song_interval)
        few = 0 < self.test_songs < FEW_TEST_SONGS
        return few and abs(self.value or 0.0) < scaling.smallest_difference(self.test_songs)

    @property
    def few_seeds(self) -> bool:
        """Whether other seeds might have given no difference: the one seed, or the 95 % interval, does not tell."""
        return self.seed_interval is None or not _excludes_zero(self.seed_interval)

    @property
    def clear(self) -> bool:
        """Whether neither the choice of seeds nor that of test songs, where known, explains the difference."""
        return not self.few_seeds and not self.few_songs


def _excludes_zero(interval: scaling.Interval) -> bool:
    return interval[0] * interval[1] > 0


def _difference(metric: Metric, first: Line, second: Line, songs: TestSongs | None) -> Difference:
    a, b = first.cells[metric.key], second.cells[metric.key]
    value = None if a.mean is None or b.mean is None else a.mean - b.mean
    return Difference(
        metric,
        first.family,
        second.family,
        first.size,
        value,
        missing=not (a.finished and b.finished),
        num_seeds=min(len(a.values), len(b.values)),
        test_songs=min((trial.row.test_songs for trial in (*first.trials, *second.trials) if trial.row), default=0),
        spread=scaling.pooled_spread([a.values, b.values]) if value is not None else None,
        seed_interval=scaling.welch_interval(a.values, b.values),
        song_interval=songs.interval(metric, first.trials, second.trials) if songs and value is not None else None,
    )


def differences(lines: Sequence[Line], metrics: Sequence[Metric], songs: TestSongs | None = None) -> list[Difference]:
    """Compute the differences for each pair of families, size (ascending) and metric."""
    computed = []
    by_place = {(line.family, line.size): line for line in lines}
    families = sorted(dict.fromkeys(line.family for line in lines), key=lambda name: name != FIRST_FAMILY)
    for (first, second), size in itertools.product(
        itertools.combinations(families, 2), sorted({line.size for line in lines})
    ):
        if (first, size) in by_place and (second, size) in by_place:
            pair = by_place[first, size], by_place[second, size]
            computed.extend(_difference(metric, *pair, songs) for metric in metrics)
    return computed
