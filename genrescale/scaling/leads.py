"""What the draws of two families' curves say: who leads where, where the lead changes, and how the score goes on.

Shapes: R draws, M sizes, G sizes of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from genrescale.scaling.draws import DRAWS, Curves, Measured, shifts
from genrescale.scaling.fits import LawFit
from genrescale.scaling.points import LEVEL, Interval

BELOW, BEYOND = 10, 1000  # a lead is looked for from a tenth of the smallest size to a thousand times the largest
_GRID, _FINER = 241, 42  # sizes; two neighbours differ by about 5 %, and by 0.1 % where a range ends


@dataclass(frozen=True)
class Expected:
    """The score that a law expects at a size: the fit's, and the interval over seeds and songs if the law holds."""

    family: str
    size: float
    value: float
    low: float
    high: float


def expected(curves: Curves, family: str, size: float, level: float = LEVEL) -> Expected:
    value_R = curves.at(family, np.array([size]))[:, 0]
    low, high = np.quantile(value_R, _tails(level)).tolist()
    return Expected(family, size, float(curves.fits[family].predict(size)), low, high)


def band(curves: Curves, family: str, sizes: ArrayLike, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """The pointwise interval (M,), (M,) of a family's curve at ``sizes``."""
    low_M, high_M = np.quantile(curves.at(family, np.asarray(sizes, dtype=float)), _tails(level), axis=0)
    return low_M, high_M


@dataclass(frozen=True)
class Reach:
    """From how many songs on ``first`` leads ``second`` by ``lead``. With ``lead`` 0 this is their crossing.

    ``at`` are the sizes at which the fitted curves' lead passes ``lead``. ``ranges`` are all sizes at which the draws
    do not tell on which side the lead is: mostly one range; a second one where the curves come near each other again.
    A range from 0 or to infinity has no bound in the sizes searched. ``share_inside`` and ``share_never`` are the
    shares of draws whose lead passes within the measured sizes, and nowhere in the sizes searched.
    """

    first: str
    second: str
    lead: float
    at: tuple[float, ...]
    ranges: tuple[Interval, ...]
    share_inside: float
    share_never: float

    @property
    def bounded(self) -> bool:
        return bool(self.ranges) and self.ranges[0][0] > 0 and math.isfinite(self.ranges[-1][1])

    def around(self, size: float) -> Interval:
        """The range that holds ``size``, or the nearest one; without any range all sizes."""
        return min(self.ranges, key=lambda ends: max(ends[0] - size, size - ends[1], 0.0), default=(0.0, math.inf))


def reach(curves: Curves, first: str, second: str, lead: float = 0.0, level: float = LEVEL) -> Reach:
    """Find the sizes at which ``first`` begins, or ends, to lead by ``lead``.

    The interval turns a test around, as Fieller's does: a size is in it unless at least ``(1 + level) / 2`` of the
    draws agree on the side. Percentiles of the draws' own crossings would not do: draws that never cross have none.
    Searched are the sizes from a tenth of the smallest that both families have to a thousand times the largest.
    """
    inner = curves.measured
    grid_G = _searched(inner)
    above_RG = curves.gain(first, second, grid_G) > lead
    change_RG = above_RG[:, 1:] != above_RG[:, :-1]
    inside_G = (grid_G[1:] > inner[0]) & (grid_G[:-1] < inner[-1])
    side_G = _side(above_RG.mean(axis=0), level)
    fine_G = _finer(grid_G, side_G)
    fine_share_G = (curves.gain(first, second, fine_G) > lead).mean(axis=0)
    return Reach(
        first,
        second,
        lead,
        at=passes(curves.fits[first], curves.fits[second], inner, lead),
        ranges=_undecided(fine_G, _side(fine_share_G, level)),
        share_inside=float(change_RG[:, inside_G].any(axis=1).mean()),
        share_never=float((~change_RG.any(axis=1)).mean()),
    )


def _tails(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2


def _side(share_G: np.ndarray, level: float) -> np.ndarray:
    """Where the draws agree (G,): 1 on a lead, -1 on none, 0 not at all."""
    low, high = _tails(level)
    return np.where(share_G >= high, 1, np.where(share_G <= low, -1, 0))


def _finer(grid_G: np.ndarray, side_G: np.ndarray) -> np.ndarray:
    """The grid with more sizes where the side changes."""
    changes = np.flatnonzero(side_G[1:] != side_G[:-1])
    between = [np.geomspace(grid_G[i], grid_G[i + 1], _FINER)[1:-1] for i in changes]
    return np.sort(np.concatenate([grid_G, *between]))


def _undecided(grid_G: np.ndarray, side_G: np.ndarray) -> tuple[Interval, ...]:
    """The ranges of sizes without a side, from 0 or to infinity at the ends of the grid."""
    ranges, start = [], 0.0 if side_G[0] == 0 else math.nan
    for i in np.flatnonzero(side_G[1:] != side_G[:-1]).tolist():
        if side_G[i]:  # a range begins; it ends at once where the draws change sides between two sizes
            start = float(grid_G[i])
        if side_G[i + 1]:
            ranges.append((start, float(grid_G[i + 1])))
    return (*ranges, (start, math.inf)) if side_G[-1] == 0 else tuple(ranges)


def passes(first: LawFit, second: LawFit, measured: Sequence[int], lead: float = 0.0) -> tuple[float, ...]:
    """The sizes at which the lead of ``first`` over ``second`` passes ``lead``, by two fits of one metric."""
    sign = 1.0 if first.higher_is_better else -1.0

    def beyond(log_size: ArrayLike) -> np.ndarray:
        sizes = np.exp(log_size)
        return sign * (first.predict(sizes) - second.predict(sizes)) - lead

    log_G = np.log(_searched(measured))
    above_G = beyond(log_G) > 0
    found = [optimize.brentq(beyond, log_G[i], log_G[i + 1]) for i in np.flatnonzero(above_G[1:] != above_G[:-1])]
    return tuple(math.exp(float(log_size)) for log_size in found)  # type: ignore[arg-type]


def _searched(measured: Sequence[int]) -> np.ndarray:
    return np.geomspace(measured[0] / BELOW, measured[-1] * BEYOND, _GRID)


def leading_shares(
    measured: Mapping[str, Measured], higher_is_better: bool, draws: int = DRAWS, seed: int = 0
) -> dict[int, dict[str, float]]:
    """The probability that each family leads at each size that all have: by the raw means, without any law.

    It is the share of draws of other seeds and songs in which the family is the best.
    """
    drawn = shifts(measured, draws, seed)
    sizes = sorted(set.intersection(*(set(of.seeds) for of in measured.values())))
    shares = {}
    for size in sizes:
        value_FR = np.stack(
            [float(np.mean(of.seeds[size])) + drawn[f][:, sorted(of.seeds).index(size)] for f, of in measured.items()]
        )
        best_R = (value_FR if higher_is_better else -value_FR).argmax(axis=0)
        shares[size] = {family: float((best_R == i).mean()) for i, family in enumerate(measured)}
    return shares
