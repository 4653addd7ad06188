"""Draws of what other seeds and other test songs would have measured, and the curves through each draw.

A bootstrap of three seeds covers far too little: it never sees a spread larger than theirs. Here the spread over seeds
is pooled over a family's sizes, and a draw moves each size's mean by this spread times Student's t (one scale for the
whole draw, by the spread's degrees of freedom). A normal deviate with the covariance of the resampled test songs is
added, common to all families and sizes, because they are scored on the same songs. Each draw is fitted again. For a
straight law this is the t interval; for the others ``tests/unit/test_scaling_worlds.py`` measures how often it holds
the truth. It takes seeds to differ as much at every size; a size with one seed has the spread of the others.

Shapes: R draws, Q resamples of songs, M sizes, N runs, K parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from genrescale.scaling.fits import LawFit, fit_law
from genrescale.scaling.laws import Law
from genrescale.scaling.points import SAME, Seeds, flatten, pooled_spread, spread_freedom

DRAWS = 1000


@dataclass(frozen=True, eq=False)
class Measured:
    """A family's values by size and seed and, where known, by how much other songs would change each size's mean.

    ``songs`` has Q deviations for each size, from the same resamples of the songs for every family and size.
    """

    seeds: Seeds
    songs: Mapping[int, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.seeds or not all(len(values) for values in self.seeds.values()):
            raise ValueError("measured sizes need values: leave out a size of which no run has finished")
        if self.songs and (set(self.songs) != set(self.seeds) or len({len(v) for v in self.songs.values()}) != 1):
            raise ValueError("deviations over songs are needed for every size, from the same number of resamples")

    @property
    def unbounded(self) -> str:
        """Say why nothing tells how far other seeds would be: "" if something does."""
        spread = pooled_spread(list(self.seeds.values()))
        if spread is None:
            return "each size has one seed only, so nothing tells how far seeds differ"
        return "seeds agree to the last digit, which says nothing about other seeds" if spread <= SAME else ""


def shifts(measured: Mapping[str, Measured], draws: int = DRAWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw by how much each size's mean may lie beside the truth: (R, M) for each family, sizes ascending.

    Raises ValueError for a family without two seeds that differ.
    """
    rng = np.random.default_rng(seed)
    song_RQ = rng.normal(size=(draws, _resamples(measured)))
    drawn = {}
    for family, of in measured.items():
        if of.unbounded:
            raise ValueError(f"{family}: {of.unbounded}")
        sizes, groups = sorted(of.seeds), list(of.seeds.values())
        freedom = spread_freedom(groups)
        scale_R = (pooled_spread(groups) or 0.0) * np.sqrt(freedom / rng.chisquare(freedom, draws))
        count_M = np.array([len(of.seeds[size]) for size in sizes])
        drawn[family] = scale_R[:, None] * rng.normal(size=(draws, len(sizes))) / np.sqrt(count_M)
        if of.songs:
            deviation_QM = np.nan_to_num(np.stack([of.songs[size] for size in sizes], axis=1))
            deviation_QM = deviation_QM - deviation_QM.mean(axis=0)
            drawn[family] = drawn[family] + song_RQ @ deviation_QM / math.sqrt(len(deviation_QM) - 1)
    return drawn


def _resamples(measured: Mapping[str, Measured]) -> int:
    counts = {len(values) for of in measured.values() for values in of.songs.values()}
    if len(counts) > 1:
        raise ValueError(f"families need deviations over the same resamples of songs, got {sorted(counts)} of them")
    return counts.pop() if counts else 1


@dataclass(frozen=True, eq=False)
class Curves:
    """One law for all families: the fit of each, and the parameters (R, K) of its draws, paired over families."""

    law: Law
    higher_is_better: bool
    fits: dict[str, LawFit]
    params: dict[str, np.ndarray]
    measured: tuple[int, ...]  # the sizes that all families have

    def at(self, family: str, sizes: np.ndarray) -> np.ndarray:
        """The metric of a family's draws (R, M) at ``sizes``."""
        return self.law.predict(self.params[family], np.asarray(sizes, dtype=float), self.higher_is_better)

    def gain(self, first: str, second: str, sizes: np.ndarray) -> np.ndarray:
        """The lead of ``first`` over ``second`` in each draw (R, M), positive where it is better."""
        difference_RM = self.at(first, sizes) - self.at(second, sizes)
        return difference_RM if self.higher_is_better else -difference_RM


def draw_curves(
    law: Law, measured: Mapping[str, Measured], higher_is_better: bool, draws: int = DRAWS, seed: int = 0
) -> Curves:
    """Fit a law to each family and to each draw. Raises ValueError as ``shifts`` and ``fit_law`` do."""
    drawn, fits, params = shifts(measured, draws, seed), {}, {}
    for family, of in measured.items():
        fits[family] = fit_law(law, of.seeds, higher_is_better)
        params[family] = refit(fits[family], of.seeds, drawn[family])
    common = set.intersection(*(set(of.seeds) for of in measured.values()))
    return Curves(law, higher_is_better, fits, params, tuple(sorted(common)))


def refit(fit: LawFit, seeds: Seeds, shift_RM: np.ndarray) -> np.ndarray:
    """Fit again with all runs of a size moved as drawn. Returns the parameters (R, K)."""
    size_N, value_N = flatten(seeds)
    counts = [len(seeds[size]) for size in sorted(seeds)]
    value_RN = value_N + np.repeat(shift_RM, counts, axis=1)
    delta_R = np.full(len(value_RN), fit.law.delta(size_N, value_N, fit.higher_is_better))
    start_RK = np.tile(fit.param_K, (len(value_RN), 1))
    return fit.law.refit(size_N, value_RN, fit.higher_is_better, start_RK, delta_R)
