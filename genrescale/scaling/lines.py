"""The straight line in songs, as in Figure 3 of Pons et al. 2018, and the crossing of two lines.

Two lines cross at most once, whatever the points do, so report ``lead_changes`` of the raw means with every crossing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from genrescale.scaling.points import LEVEL, Interval, check_points


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
    size_N, value_N = check_points(sizes, values, min_sizes=2)
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
