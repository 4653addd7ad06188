"""Parameters, data and compute: the size of a model that is best for a budget of training operations, found twice.

Approach 2 of Hoffmann et al. 2022 puts a parabola through the errors of models of one budget and takes its lowest
point; a line through these, in logs, says how the best size grows with the budget. Approach 3 fits
``L(N, D) = E + A / N**alpha + B / D**beta`` to all runs at once and solves for the best size. Where the two disagree,
the runs do not tell.

Here N are parameters, D clips seen in training, and a clip costs operations forward and backward as
``genrescale.training.flops.clip_flops`` counts them. A convolution uses a parameter at many places, so a clip does not
cost 6 N as in a language model: its cost is fitted as ``k * N**gamma`` over a family's models.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genrescale.scaling.laws import DELTA
from genrescale.scaling.robust import fit_many

MIN_MODELS = 3  # of a parabola
MIN_BUDGETS = 2  # of a line through their optima
MIN_RUNS = 6  # of approach 3's five parameters
_EXPONENTS = (0.02, 3.0)
_FAR = 12.0


@dataclass(frozen=True)
class ComputePoint:
    """One run: its parameters, the clips it saw, the operations of one of them, and its error (lower is better)."""

    params: float
    clips: float
    clip_flops: float
    error: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) and v > 0 for v in (self.params, self.clips, self.clip_flops, self.error)):
            raise ValueError(f"a run needs parameters, clips, operations and an error greater than 0, got {self}")

    @property
    def flops(self) -> float:
        return self.clips * self.clip_flops


@dataclass(frozen=True)
class ClipCost:
    """Operations of a clip in a family: ``k * params**gamma``. A transformer has gamma 1 and k 6."""

    k: float
    gamma: float

    def clips(self, flops: float, params: float) -> float:
        """How many clips a model of so many parameters may see for ``flops``."""
        return flops / (self.k * params**self.gamma)


def clip_cost(points: Sequence[ComputePoint]) -> ClipCost:
    """Fit the cost of a clip over a family's models, in logs. Raises ValueError for models of one size."""
    known = {point.params: point.clip_flops for point in points}
    if len(known) < 2:
        raise ValueError("the cost of a clip by model size needs models of at least two sizes")
    gamma, log_k = np.polyfit(np.log(list(known)), np.log(list(known.values())), 1)
    return ClipCost(math.exp(float(log_k)), float(gamma))


@dataclass(frozen=True, eq=False)
class ParametricFit:
    """Approach 3: ``L(N, D) = e + a / N**alpha + b / D**beta``. ``unsupported`` says why it is not determined."""

    e: float
    a: float
    b: float
    alpha: float
    beta: float
    unsupported: str

    def predict(self, params: ArrayLike, clips: ArrayLike) -> np.ndarray:
        n, d = np.asarray(params, dtype=float), np.asarray(clips, dtype=float)
        return self.e + self.a * n**-self.alpha + self.b * d**-self.beta

    def exponent(self, cost: ClipCost) -> float:
        """The best number of parameters grows with the budget to this power."""
        return self.beta / (self.alpha + cost.gamma * self.beta)

    def best_params(self, flops: float, cost: ClipCost) -> float:
        """The number of parameters with the lowest error for a budget of ``flops``: where dL/dN is 0."""
        ratio = self.alpha * self.a / (cost.gamma * self.beta * self.b)
        total = self.alpha + cost.gamma * self.beta
        return ratio ** (1 / total) * (flops / cost.k) ** self.exponent(cost)


def parametric_fit(points: Sequence[ComputePoint], delta: float = DELTA) -> ParametricFit:
    """Fit approach 3 to a family's runs: Huber's loss of log L, from 108 starts (Hoffmann et al. 2022, appendix D.3).

    Raises ValueError for fewer than six runs, or fewer than three numbers of parameters or of clips.
    """
    if len(points) < MIN_RUNS:
        raise ValueError(f"five parameters need at least {MIN_RUNS} runs, got {len(points)}")
    param_N, clip_N = (np.array([getattr(p, name) for p in points]) for name in ("params", "clips"))
    for name, values_N in (("parameters", param_N), ("clips", clip_N)):
        if (found := len(np.unique(values_N))) < 3:
            raise ValueError(f"approach 3 needs runs with at least 3 different numbers of {name}, got {found}")
    log_N = np.log([point.error for point in points])
    x_N, y_N = (np.log(v) - np.log(v).mean() for v in (param_N, clip_N))
    starts = [
        (log_N.min() + math.log(e), log_N.max() + math.log(a), log_N.max() + math.log(b), alpha, beta)
        for e, a, b, alpha, beta in itertools.product(
            (0.3, 0.7, 0.95), (0.03, 0.3), (0.03, 0.3), (0.1, 0.4, 1.0), (0.1, 0.4, 1.0)
        )
    ]
    low, high = log_N.min() - _FAR, log_N.max() + _FAR
    bounds = np.array([[low, log_N.max()], [low, high], [low, high], _EXPONENTS, _EXPONENTS])
    found_PK, loss_P = fit_many(
        lambda theta_PK: _terms(theta_PK, x_N, y_N),
        np.array(starts),
        np.tile(log_N, (len(starts), 1)),
        np.full(len(starts), delta),
        bounds,
        tolerance=1e-12,
        iterations=300,
    )
    e, a, b, alpha, beta = found_PK[loss_P.argmin()].tolist()
    fixed = [_EXPONENTS[0] * 1.01 < power < _EXPONENTS[1] * 0.99 for power in (alpha, beta)]
    reason = "" if all(fixed) else f"the runs do not fix the exponent of {'clips' if fixed[0] else 'parameters'}"
    log_a, log_b = a + alpha * float(np.log(param_N).mean()), b + beta * float(np.log(clip_N).mean())
    return ParametricFit(math.exp(e), math.exp(log_a), math.exp(log_b), alpha, beta, reason)


def _terms(theta_PK: np.ndarray, x_N: np.ndarray, y_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log L and its derivatives, with N and D relative to their geometric means."""
    e, a, b, alpha, beta = (theta_PK[:, k : k + 1] for k in range(5))
    first, second = a - alpha * x_N, b - beta * y_N
    total = np.logaddexp(np.logaddexp(e, first), second)
    share_e, share_a, share_b = np.exp(e - total), np.exp(first - total), np.exp(second - total)
    return total, np.stack([share_e, share_a, share_b, -share_a * x_N, -share_b * y_N], axis=-1)


@dataclass(frozen=True)
class IsoFlop:
    """The models of one budget: the parabola's best number of parameters and its error there, None if there is none.

    ``unsupported`` says why: too few models, no lowest point, or one outside the models' sizes.
    """

    flops: float
    points: tuple[ComputePoint, ...]
    best_params: float | None
    error: float | None
    unsupported: str


def isoflops(points: Sequence[ComputePoint], tolerance: float = 0.1) -> list[IsoFlop]:
    """Group runs whose operations differ by no more than ``tolerance`` of the smallest, and find each group's best."""
    groups: list[list[ComputePoint]] = []
    for point in sorted(points, key=lambda p: p.flops):
        if groups and point.flops <= groups[-1][0].flops * (1 + tolerance):
            groups[-1].append(point)
        else:
            groups.append([point])
    return [_parabola(group) for group in groups]


def _parabola(group: Sequence[ComputePoint]) -> IsoFlop:
    budget = math.exp(float(np.mean([math.log(point.flops) for point in group])))
    x_N, error_N = np.log([point.params for point in group]), np.array([point.error for point in group])

    def none(reason: str) -> IsoFlop:
        return IsoFlop(budget, tuple(group), None, None, reason)

    if (sizes := len(np.unique(x_N))) < MIN_MODELS:
        return none(f"a parabola needs {MIN_MODELS} sizes of model, got {sizes}")
    bend, slope, level = np.polyfit(x_N - x_N.mean(), error_N, 2).tolist()
    if bend <= 0:
        return none("the errors have no lowest point between the sizes of model")
    best = -slope / (2 * bend)
    if not x_N.min() <= best + x_N.mean() <= x_N.max():
        return none("the lowest error lies beside the sizes of model that were trained")
    return IsoFlop(budget, tuple(group), math.exp(best + x_N.mean()), level + slope * best / 2, "")


@dataclass(frozen=True)
class Frontier:
    """Approach 2: the best number of parameters by budget, ``scale * flops**exponent``."""

    exponent: float
    scale: float

    def best_params(self, flops: float) -> float:
        return self.scale * flops**self.exponent


def frontier(groups: Sequence[IsoFlop]) -> Frontier:
    """Fit the best sizes of the budgets in logs. Raises ValueError for fewer than two budgets that have one."""
    known = [(group.flops, group.best_params) for group in groups if group.best_params is not None]
    if len(known) < MIN_BUDGETS:
        raise ValueError(f"approach 2 needs the best size at {MIN_BUDGETS} budgets or more, got {len(known)}")
    log_flops_G, log_params_G = np.log(known).T
    exponent, log_scale = np.polyfit(log_flops_G, log_params_G, 1).tolist()
    return Frontier(exponent, math.exp(log_scale))


@dataclass(frozen=True)
class Disagreement:
    """Both approaches side by side: exponents, and for each budget (operations) the best size by 2 and by 3."""

    exponent_2: float
    exponent_3: float
    best_params: tuple[tuple[float, float, float], ...]  # flops, approach 2, approach 3

    @property
    def largest_ratio(self) -> float:
        """How many times the two best sizes differ at the budget where they differ most."""
        return max(max(two / three, three / two) for _, two, three in self.best_params)


def disagreement(points: Sequence[ComputePoint], tolerance: float = 0.1) -> Disagreement:
    """Fit both approaches to a family's runs. Raises ValueError where one is not determined, with the reason."""
    groups, fit, cost = isoflops(points, tolerance), parametric_fit(points), clip_cost(points)
    if fit.unsupported:
        raise ValueError(f"approach 3: {fit.unsupported}")
    line = frontier(groups)
    sizes = tuple((g.flops, line.best_params(g.flops), fit.best_params(g.flops, cost)) for g in groups)
    return Disagreement(line.exponent, fit.exponent(cost), sizes)
