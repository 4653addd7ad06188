"""Checks of measured points, and the spread over seeds: what the other files of this folder build on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.95
SAME = 1e-9  # values that differ by no more are equal but for rounding
Interval = tuple[float, float]
Seeds = Mapping[int, Sequence[float]]  # the values of the seeds at each size


def check_points(sizes: ArrayLike, values: ArrayLike, min_sizes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sizes and values (N,) as arrays. Raises ValueError for points that no fit can use."""
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


def flatten(seeds: Seeds) -> tuple[np.ndarray, np.ndarray]:
    """Return the size of each run and its value (N,), sizes ascending."""
    sizes = [size for size in sorted(seeds) for _ in seeds[size]]
    return np.array(sizes, dtype=float), np.array(
        [value for size in sorted(seeds) for value in seeds[size]], dtype=float
    )


def pooled_spread(groups: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation over seeds (n - 1), pooled over groups of runs that differ in the seed only.

    None if no group has two seeds.
    """
    deviations = [np.asarray(group) - np.mean(group) for group in groups if len(group) > 1]
    freedom = spread_freedom(groups)
    return math.sqrt(sum(float((group**2).sum()) for group in deviations) / freedom) if freedom else None


def spread_freedom(groups: Sequence[Sequence[float]]) -> int:
    """The degrees of freedom of the pooled spread: seeds less sizes."""
    return sum(len(group) - 1 for group in groups if len(group) > 1)


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


def smallest_difference(num_songs: int) -> float:
    """The difference in accuracy that two models need on so many songs: about twice its standard error."""
    return 1.96 * math.sqrt(2 * 0.25 / num_songs)
