"""The scaling laws of a report: for each metric the laws, the chosen one, and what it expects, with intervals."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genrescale import scaling
from genrescale.config.metrics import Metric
from genrescale.report.songs import TestSongs
from genrescale.report.tables import Line

LEAD = 0.01  # how far one family should be ahead of another
TIMES = 10  # how many times the largest size is predicted


@dataclass(frozen=True, eq=False)
class MetricScaling:
    """One metric: its families' values, the laws and the chosen one (None: the points support none).

    ``curves`` are the chosen law's draws, None with the reason in ``no_interval``. ``over`` says what the intervals are
    over: seeds, or seeds and test songs. ``shares`` are the probabilities of leading by the raw means.
    """

    metric: Metric
    measured: dict[str, scaling.Measured]
    judged: list[scaling.Judged]
    chosen: scaling.Judged | None
    curves: scaling.Curves | None
    no_interval: str
    over: str
    shares: dict[int, dict[str, float]]

    @property
    def largest(self) -> int:
        return self.sizes[-1]

    @property
    def sizes(self) -> list[int]:
        return sorted({size for of in self.measured.values() for size in of.seeds})

    def mean(self, family: str, size: int) -> float | None:
        values = self.measured[family].seeds.get(size, ())
        return sum(values) / len(values) if values else None

    def expected(self, family: str) -> scaling.Expected | None:
        if self.curves is None or family not in self.curves.fits:
            return None
        return scaling.expected(self.curves, family, TIMES * self.largest)

    def outside(self, found: scaling.Expected) -> str:
        """Say that a law leaves the metric's range, where it cannot hold; "" if it does not."""
        if found.value >= 0 and (found.value <= 1 or not self.metric.higher_is_better):
            return ""
        assert self.chosen is not None
        return f"the {self.chosen.law.label} leaves the range of the metric before {found.size:,.0f} songs"

    def reaches(self) -> list[scaling.Reach]:
        """For each pair of families, from how many songs on the first leads by LEAD."""
        if self.curves is None:
            return []
        pairs = itertools.combinations(self.curves.fits, 2)
        return [scaling.reach(self.curves, first, second, LEAD) for first, second in pairs]


def curve_noun(law: scaling.Law) -> str:
    return "lines" if law is scaling.LINEAR else "curves"


def metric_scaling(
    metric: Metric,
    seeds: dict[str, dict[int, tuple[float, ...]]],
    lines: Sequence[Line] = (),
    songs: TestSongs | None = None,
) -> MetricScaling | None:
    """Judge the laws of one metric, and draw what other seeds and songs would have given; None without any value."""
    if not (known := {family: values for family, values in seeds.items() if values}):
        return None
    deviations = _deviations(metric, known, lines, songs) if songs else {}
    measured = {family: scaling.Measured(values, deviations.get(family, {})) for family, values in known.items()}
    judged = scaling.judge(known, metric.higher_is_better)
    chosen = scaling.choose(judged)
    told = {family: of for family, of in measured.items() if not of.unbounded}
    no_interval = next((f"{family}: {of.unbounded}" for family, of in measured.items() if of.unbounded), "")
    drawn = {family: of for family, of in told.items() if chosen and not chosen.reasons[family]}
    common = set.intersection(*(set(of.seeds) for of in drawn.values())) if drawn else set()
    return MetricScaling(
        metric,
        measured,
        judged,
        chosen,
        curves=scaling.draw_curves(chosen.law, drawn, metric.higher_is_better) if chosen and common else None,
        no_interval=no_interval,
        over="seeds and test songs" if deviations else "seeds",
        shares=scaling.leading_shares(measured, metric.higher_is_better) if len(told) == len(measured) > 1 else {},
    )


def _deviations(
    metric: Metric, seeds: dict[str, dict[int, tuple[float, ...]]], lines: Sequence[Line], songs: TestSongs
) -> dict[str, dict[int, np.ndarray]]:
    """The metric on resampled songs by family and size; empty unless every run was scored on the same songs."""
    cells = {
        (line.family, line.size): [trial for trial in line.trials if trial.value(metric) is not None]
        for line in lines
        if line.size in seeds.get(line.family, {})
    }
    found = songs.resampled_means(metric, list(cells.values()))
    if not found:
        return {}
    by_family: dict[str, dict[int, np.ndarray]] = {}
    for (family, size), value_Q in zip(cells, found, strict=True):
        by_family.setdefault(family, {})[size] = value_Q
    return by_family
