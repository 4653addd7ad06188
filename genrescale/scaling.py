"""Scaling of a metric with the number of training songs: fits, crossings of two model families, and intervals.

Conventions: ``sizes`` are numbers of training songs. ``values`` are metrics, one for each size, of one run or averaged
over several; a size may occur several times (one value per seed). Intervals are (low, high) at ``level``, by default
0.95. The straight line in songs is the fit of Pons et al. 2018, Figure 3. Two lines cross at most once, whatever the
points do, so report ``lead_changes`` of the raw means with every crossing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

LEVEL = 0.95
RESAMPLES = 4000
POWER_LAW_MIN_SIZES = 4
EXPONENT_RANGE = (0.01, 3.0)
SAME = 1e-9  # values that differ by no more are equal but for rounding
Interval = tuple[float, float]


def _points(sizes: ArrayLike, values: ArrayLike, min_sizes: int) -> tuple[np.ndarray, np.ndarray]:
    size_N, value_N = np.asarray(sizes, dtype=float), np.asarray(values, dtype=float)
    if size_N.ndim != 1 or size_N.shape != value_N.shape:
        raise ValueError(f"a fit needs one value per size, got shapes {size_N.shape} and {value_N.shape}")
    if not (np.isfinite(size_N).all() and np.isfinite(value_N).all()):
        raise ValueError("a fit needs finite sizes and values: leave out missing runs")
    if (size_N <= 0).any():
        raise ValueError("sizes are numbers of songs: they must be greater than 0")
    if (num_sizes := len(np.unique(size_N))) < min_sizes:
        raise ValueError(f"this fit needs at least {min_sizes} different sizes, got {num_sizes}")
    return size_N, value_N


@dataclass(frozen=True, eq=False)
class LinearFit:
    """Least-squares line ``value = intercept + slope * songs``. ``residuals`` (value - line) are in the given order."""

    slope: float
    intercept: float
    sizes: np.ndarray
    residuals: np.ndarray

    def predict(self, sizes: ArrayLike) -> np.ndarray:
        return self.intercept + self.slope * np.asarray(sizes, dtype=float)

    @property
    def r_squared(self) -> float | None:
        """Share of the values' variance that the line explains; None if the values do not vary."""
        values_N = self.predict(self.sizes) + self.residuals
        total = float(((values_N - values_N.mean()) ** 2).sum())
        return 1 - float((self.residuals**2).sum()) / total if total > 0 else None

    def _margin(self, level: float) -> float | None:
        """Student's t quantile times the residual standard deviation; None with two points, which leave no residual."""
        freedom = len(self.sizes) - 2
        if freedom < 1:
            return None
        sigma = math.sqrt(float((self.residuals**2).sum()) / freedom)
        return float(stats.t.ppf((1 + level) / 2, freedom)) * sigma

    def slope_interval(self, level: float = LEVEL) -> Interval | None:
        """Confidence interval of the slope, in metric units per song; None with two points."""
        if (margin := self._margin(level)) is None:
            return None
        half = margin / math.sqrt(float(((self.sizes - self.sizes.mean()) ** 2).sum()))
        return self.slope - half, self.slope + half

    def band(self, sizes: ArrayLike, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray] | None:
        """Pointwise confidence band of the line at ``sizes``, if the relation is linear; None with two points."""
        if (margin := self._margin(level)) is None:
            return None
        offset = np.asarray(sizes, dtype=float) - self.sizes.mean()
        spread = float(((self.sizes - self.sizes.mean()) ** 2).sum())
        half = margin * np.sqrt(1 / len(self.sizes) + offset**2 / spread)
        return self.predict(sizes) - half, self.predict(sizes) + half


def linear_fit(sizes: ArrayLike, values: ArrayLike) -> LinearFit:
    """Fit a straight line to (songs, value). Raises ValueError for fewer than two different sizes."""
    size_N, value_N = _points(sizes, values, min_sizes=2)
    centred = size_N - size_N.mean()
    slope = float(centred @ value_N / (centred @ centred))
    intercept = float(value_N.mean() - slope * size_N.mean())
    return LinearFit(slope, intercept, size_N, value_N - (intercept + slope * size_N))


def crossing(fit_a: LinearFit, fit_b: LinearFit) -> float | None:
    """Compute the number of songs at which two lines cross; None if they are parallel.

    It may lie outside the measured sizes. A negative number means that the lines do not cross at any number of songs.
    """
    gap, closing = fit_b.intercept - fit_a.intercept, fit_a.slope - fit_b.slope
    if math.isclose(fit_a.slope, fit_b.slope, rel_tol=1e-9, abs_tol=0.0):
        return None
    return gap / closing


def lead_changes(sizes: Sequence[int], differences: Sequence[float]) -> list[tuple[int, int]]:
    """List the pairs of neighbouring sizes (ascending) between which the difference changes sign; ties are skipped."""
    known = [(size, value) for size, value in zip(sizes, differences, strict=True) if value != 0]
    return [(before[0], after[0]) for before, after in itertools.pairwise(known) if before[1] * after[1] < 0]


@dataclass(frozen=True, eq=False)
class PowerLawFit:
    """``value = a - b * songs**-c``. ``a`` is the limit for many songs: a maximum if b > 0, a minimum if b < 0.

    ``at_limit`` means that the exponent is at an end of ``EXPONENT_RANGE``: the points do not determine the curve, so
    do not interpret ``a`` as a limit.
    """

    a: float
    b: float
    c: float
    residuals: np.ndarray
    at_limit: bool

    def predict(self, sizes: ArrayLike) -> np.ndarray:
        return self.a - self.b * np.asarray(sizes, dtype=float) ** -self.c


def power_law_fit(sizes: ArrayLike, values: ArrayLike) -> PowerLawFit:
    """Fit the saturating power law by least squares. Raises ValueError for fewer than four different sizes.

    For a given exponent the law is linear in a and b. So only the exponent is searched, which needs no start values and
    cannot fail to converge.
    """
    size_N, value_N = _points(sizes, values, POWER_LAW_MIN_SIZES)
    scale = math.exp(np.log(size_N).mean())

    def solve(exponent: float) -> tuple[float, float, np.ndarray]:
        line = linear_fit((size_N / scale) ** -exponent, value_N)
        return line.intercept, -line.slope, line.residuals

    def squared_error(log_exponent: float) -> float:
        return float((solve(math.exp(log_exponent))[2] ** 2).sum())

    low, high = (math.log(end) for end in EXPONENT_RANGE)
    grid = np.linspace(low, high, 61)
    best = int(np.argmin([squared_error(x) for x in grid]))
    around = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    search: Any = optimize.minimize_scalar(squared_error, bounds=around, method="bounded", options={"xatol": 1e-10})
    exponent = math.exp(float(search.x))
    a, b_scaled, residuals = solve(exponent)
    # A bounded search never returns the bound itself, so compare the best grid point instead.
    at_limit = bool(best in (0, len(grid) - 1))
    return PowerLawFit(a, b_scaled * scale**exponent, exponent, residuals, at_limit)


def welch_interval(values_a: Sequence[float], values_b: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Interval of mean(a) - mean(b) by Welch's t-test; None if a side has fewer than two seeds, or no seeds differ.

    With few seeds it is wide, as it should be: two seeds say little about the spread of a third. Seeds that agree to
    the last digit, by chance or because songs are few, say nothing about it.
    """
    if min(len(values_a), len(values_b)) < 2 or max(np.ptp(values_a), np.ptp(values_b)) <= SAME:
        return None
    parts = [float(np.var(values, ddof=1)) / len(values) for values in (values_a, values_b)]
    spread = sum(parts)
    freedom = spread**2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (values_a, values_b), strict=True)
    )
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(spread)
    difference = float(np.mean(values_a) - np.mean(values_b))
    return difference - half, difference + half


def pooled_spread(groups: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation over seeds (n - 1), pooled over groups of runs that differ in the seed only.

    None if no group has two seeds.
    """
    deviations = [np.asarray(group) - np.mean(group) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in deviations)
    return math.sqrt(sum(float((group**2).sum()) for group in deviations) / freedom) if freedom else None


def smallest_difference(num_songs: int) -> float:
    """The difference in accuracy that two models need on so many songs: about twice its standard error."""
    return 1.96 * math.sqrt(2 * 0.25 / num_songs)


@dataclass(frozen=True)
class CrossingInterval:
    """Interval of the crossing of two lines over resampled seeds.

    ``high`` is infinite if the upper tail of the resamples never crosses. ``share_inside`` is the share of resamples
    whose crossing lies within the measured sizes.
    """

    low: float
    high: float
    share_inside: float


def _resampled_lines(
    seeds_by_size: Mapping[int, Sequence[float]], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return intercepts and slopes (R,) of lines through seeds drawn with replacement within each size."""
    size_N = np.concatenate([np.full(len(values), size, dtype=float) for size, values in seeds_by_size.items()])
    drawn_RN = np.concatenate(
        [rng.choice(values, size=(RESAMPLES, len(values))) for values in seeds_by_size.values()], axis=1
    )
    centred = size_N - size_N.mean()
    slopes = drawn_RN @ centred / (centred @ centred)
    return drawn_RN.mean(axis=1) - slopes * size_N.mean(), slopes


def bootstrap_crossing(
    seeds_a: Mapping[int, Sequence[float]],
    seeds_b: Mapping[int, Sequence[float]],
    level: float = LEVEL,
    seed: int = 0,
) -> CrossingInterval | None:
    """Compute the interval of the crossing over resampled seeds, from the values per size of both families.

    Returns None if a size has one seed only, or a family fewer than two sizes. A resample whose lines do not cross at
    any number of songs counts as a crossing at infinity, so that the interval shows it.
    """
    for values_by_size in (seeds_a, seeds_b):
        if len(values_by_size) < 2 or any(len(values) < 2 for values in values_by_size.values()):
            return None
    rng = np.random.default_rng(seed)
    (intercept_a, slope_a), (intercept_b, slope_b) = _resampled_lines(seeds_a, rng), _resampled_lines(seeds_b, rng)
    with np.errstate(divide="ignore", invalid="ignore"):
        meets = (intercept_b - intercept_a) / (slope_a - slope_b)
    meets = np.where(np.isfinite(meets) & (meets > 0), meets, np.inf)
    sizes = [*seeds_a, *seeds_b]
    # Without interpolation: there is no value between a number and infinity.
    low, high = np.quantile(meets, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    inside = float(((meets >= min(sizes)) & (meets <= max(sizes))).mean())
    return CrossingInterval(float(low), float(high), inside)
