"""Fits of a report: a curve per family and metric, the crossing of two, and lead changes of the raw means."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genrescale import scaling
from genrescale.report.laws import MetricScaling
from genrescale.report.tables import Difference, Line, Metric


@dataclass(frozen=True, eq=False)
class FamilyFit:
    """The fits of one family and metric, over the values of all seeds.

    ``line`` is the paper's straight line, None for fewer than two sizes. ``departure`` is the largest distance of a
    size's mean from it; ``spread`` is the pooled standard deviation over seeds. ``unsupported`` says why the points do
    not support the line, "" if they do. ``curve`` is the law that is drawn, and whose crossing is told: the chosen one,
    or the line; None if the points support none. ``curves`` has its draws, for a band.
    """

    family: str
    metric: Metric
    seeds_by_size: dict[int, tuple[float, ...]]
    line: scaling.LinearFit | None
    departure: float | None
    spread: float | None
    unsupported: str
    curve: scaling.LawFit | None
    curves: scaling.Curves | None = None

    @property
    def points(self) -> list[tuple[int, float]]:
        return [(size, value) for size, values in self.seeds_by_size.items() for value in values]

    def band(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """The curve's 95 % band; None if nothing tells how far seeds differ."""
        if self.curves is None or self.family not in self.curves.fits:
            return None
        return scaling.band(self.curves, self.family, sizes)


def seeds_of(family: str, metric: Metric, lines: Sequence[Line]) -> dict[int, tuple[float, ...]]:
    """The values of a family's finished runs by size, ascending."""
    cells = {line.size: line.cells[metric.key] for line in lines if line.family == family}
    return {size: cells[size].values for size in sorted(cells) if cells[size].values}


def family_fit(family: str, metric: Metric, lines: Sequence[Line], law: MetricScaling | None = None) -> FamilyFit:
    """Fit the straight line, and take the curve from the chosen ``law`` of the metric, if it is given."""
    seeds = seeds_of(family, metric, lines)
    reason, line, departure = scaling.too_few_sizes(scaling.LINEAR, len(seeds)), None, None
    curve = None
    if len(seeds) >= 2:
        sizes = [size for size, values in seeds.items() for _ in values]
        line = scaling.linear_fit(sizes, [value for group in seeds.values() for value in group])
        straight = scaling.fit_law(scaling.LINEAR, seeds, metric.higher_is_better)
        reason = straight.unsupported
        departure = scaling.departure(straight, seeds) if len(seeds) > 2 else None
        curve = None if reason else straight
    if law:
        fits = law.chosen.fits if law.chosen else {}
        curve = fits[family] if family in fits and not fits[family].unsupported else None
    spread = scaling.pooled_spread(list(seeds.values()))
    return FamilyFit(family, metric, seeds, line, departure, spread, reason, curve, law.curves if law else None)


@dataclass(frozen=True)
class Crossing:
    """Where the curves of two families cross for one metric. ``at`` is None if a curve is missing or they never do.

    ``law`` is the curves' law. Of several crossings ``at`` is the last. ``smallest`` and ``largest`` are the extreme
    sizes measured for both. ``lead_changes`` are the pairs of neighbouring sizes between which the lead in the raw
    means changes, None if a size is missing. ``unsupported`` says why no crossing may be told: the points do not
    support a curve, or the seeds do not fix the crossing; "" if they do. ``over`` is what its interval is over.
    """

    metric: Metric
    first: str
    second: str
    unsupported: str
    law: scaling.Law
    at: float | None
    interval: scaling.Reach | None
    over: str
    smallest: int
    largest: int
    ahead_above: str | None
    lead_changes: list[tuple[int, int]] | None

    @property
    def inside(self) -> bool:
        return self.at is not None and self.smallest <= self.at <= self.largest


def _crossing(a: FamilyFit, b: FamilyFit, all_differences: Sequence[Difference], over: str) -> Crossing:
    common = sorted(set(a.seeds_by_size) & set(b.seeds_by_size)) or [0]
    raw = {d.size: d.value for d in all_differences if (d.metric, d.first, d.second) == (a.metric, a.family, b.family)}
    known = [value for value in raw.values() if value is not None]
    at = interval = ahead = None
    if a.curve and b.curve and common[0]:
        at = _meet(a, b, common)
        beyond = np.array([common[-1] if at is None or at <= 0 else at * 1.01])
        ahead = (
            a.family if a.metric.gain(float((a.curve.predict(beyond) - b.curve.predict(beyond))[0])) > 0 else b.family
        )
        if a.curves and {a.family, b.family} <= set(a.curves.fits):
            interval = scaling.reach(a.curves, a.family, b.family)
    return Crossing(
        metric=a.metric,
        first=a.family,
        second=b.family,
        unsupported=_unsupported(a, b, at, interval),
        law=a.curve.law if a.curve else scaling.LINEAR,
        at=at,
        interval=interval,
        over=over,
        smallest=common[0],
        largest=common[-1],
        ahead_above=ahead,
        lead_changes=scaling.lead_changes(list(raw), known) if known and len(known) == len(raw) else None,
    )


def _meet(a: FamilyFit, b: FamilyFit, common: Sequence[int]) -> float | None:
    assert a.curve is not None
    assert b.curve is not None
    if a.curve.law is scaling.LINEAR and a.line and b.line:
        return scaling.crossing(a.line, b.line)
    return (scaling.passes(a.curve, b.curve, common) or (None,))[-1]


def _unsupported(a: FamilyFit, b: FamilyFit, at: float | None, interval: scaling.Reach | None) -> str:
    for fit in (a, b):
        if fit.curve is None:
            return f"{fit.family}: {fit.unsupported or 'its points do not support the chosen law'}"
    if at is None or at <= 0:
        return ""
    if a.spread is None or b.spread is None:
        return "a size has one seed only, so nothing tells how far seeds move the crossing"
    if interval is not None and not math.isfinite(interval.around(at)[1]):
        return "with other seeds the lines might not cross at all"
    return ""


def crossings(
    fits: Sequence[FamilyFit], all_differences: Sequence[Difference], laws: Sequence[MetricScaling] = ()
) -> list[Crossing]:
    """Compute the crossings for each metric and pair of families; none for a metric that no run defines."""
    over = {law.metric.key: law.over for law in laws}
    pairs = itertools.combinations([fit for fit in fits if fit.points], 2)
    return [_crossing(a, b, all_differences, over.get(a.metric.key, "seeds")) for a, b in pairs if a.metric == b.metric]
