"""Fits of a report: a line per family and metric, the crossing of two lines, and lead changes of the raw means."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from genrescale import scaling
from genrescale.report.tables import Difference, Line, Metric

MIN_SIZES = 3  # of a line that its points could contradict


@dataclass(frozen=True, eq=False)
class FamilyFit:
    """The fits of one family and metric, over the values of all seeds.

    ``line`` is None for fewer than two sizes, ``power`` for fewer than four. ``departure`` is the largest distance of a
    size's mean from the line; ``spread`` is the pooled standard deviation over seeds. ``unsupported`` says why the
    points do not support the line, "" if they do: it is drawn, and its crossing is told, in that case only.
    """

    family: str
    metric: Metric
    seeds_by_size: dict[int, tuple[float, ...]]
    line: scaling.LinearFit | None
    power: scaling.PowerLawFit | None
    departure: float | None
    spread: float | None

    @property
    def points(self) -> list[tuple[int, float]]:
        return [(size, value) for size, values in self.seeds_by_size.items() for value in values]

    @property
    def unsupported(self) -> str:
        if self.line is None or len(self.seeds_by_size) < MIN_SIZES:
            return f"a line needs {MIN_SIZES} sizes, because one fits any two"
        margin = scaling.SAME + (self.spread or 0.0)
        if self.spread is not None and self.departure is not None and self.departure > margin:
            return (
                f"a mean lies {self.departure:.4f} beside a straight line, more than seeds differ ({self.spread:.4f})"
            )
        interval = self.line.slope_interval()
        if interval is None or interval[0] <= 0 <= interval[1]:
            return "its slope cannot be told from 0"
        return ""


def family_fit(family: str, metric: Metric, lines: Sequence[Line]) -> FamilyFit:
    cells = {line.size: line.cells[metric.key] for line in lines if line.family == family}
    seeds = {size: cells[size].values for size in sorted(cells) if cells[size].values}
    sizes = [size for size, values in seeds.items() for _ in values]
    values = [value for group in seeds.values() for value in group]
    line = scaling.linear_fit(sizes, values) if len(seeds) >= 2 else None
    power = scaling.power_law_fit(sizes, values) if len(seeds) >= scaling.POWER_LAW_MIN_SIZES else None
    departure = None
    if line and len(seeds) > 2:
        departure = max(abs(sum(group) / len(group) - float(line.predict(size))) for size, group in seeds.items())
    return FamilyFit(family, metric, seeds, line, power, departure, scaling.pooled_spread(list(seeds.values())))


@dataclass(frozen=True)
class Crossing:
    """Where the lines of two families cross for one metric. ``at`` is None if a line is missing or they are parallel.

    ``smallest`` and ``largest`` are the extreme sizes measured for both. ``lead_changes`` are the pairs of neighbouring
    sizes between which the lead in the raw means changes, None if a size is missing. ``unsupported`` says why no
    crossing may be told: the points do not support a line, or the seeds do not fix the crossing; "" if they do.
    """

    metric: Metric
    first: str
    second: str
    unsupported: str
    at: float | None
    interval: scaling.CrossingInterval | None
    smallest: int
    largest: int
    ahead_above: str | None
    lead_changes: list[tuple[int, int]] | None

    @property
    def inside(self) -> bool:
        return self.at is not None and self.smallest <= self.at <= self.largest


def _crossing(a: FamilyFit, b: FamilyFit, all_differences: Sequence[Difference]) -> Crossing:
    common = sorted(set(a.seeds_by_size) & set(b.seeds_by_size)) or [0]
    raw = {d.size: d.value for d in all_differences if (d.metric, d.first, d.second) == (a.metric, a.family, b.family)}
    known = [value for value in raw.values() if value is not None]
    at = interval = ahead = None
    if a.line and b.line:
        at = scaling.crossing(a.line, b.line)
        interval = scaling.bootstrap_crossing(a.seeds_by_size, b.seeds_by_size)
        ahead = a.family if a.metric.gain(a.line.slope - b.line.slope) > 0 else b.family
    return Crossing(
        metric=a.metric,
        first=a.family,
        second=b.family,
        unsupported=_unsupported(a, b, at, interval),
        at=at,
        interval=interval,
        smallest=common[0],
        largest=common[-1],
        ahead_above=ahead,
        lead_changes=scaling.lead_changes(list(raw), known) if known and len(known) == len(raw) else None,
    )


def _unsupported(a: FamilyFit, b: FamilyFit, at: float | None, interval: scaling.CrossingInterval | None) -> str:
    for fit in (a, b):
        if reason := fit.unsupported:
            return f"{fit.family}: {reason}"
    if at is None or at <= 0:
        return ""
    if interval is None:
        return "a size has one seed only, so nothing tells how far seeds move the crossing"
    if not math.isfinite(interval.high):
        return "with other seeds the lines might not cross at all"
    return ""


def crossings(fits: Sequence[FamilyFit], all_differences: Sequence[Difference]) -> list[Crossing]:
    """Compute the crossings for each metric and pair of families; none for a metric that no run defines."""
    pairs = itertools.combinations([fit for fit in fits if fit.points], 2)
    return [_crossing(a, b, all_differences) for a, b in pairs if a.metric == b.metric]
