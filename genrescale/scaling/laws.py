"""Laws of a metric against the number of training songs: two straight ones, a power law and a saturating one.

A straight law is fitted to the metric by least squares. The other two are laws of the *error*, which is 1 - metric
where higher is better and the metric itself where lower is, with a part that no data removes (E). They are fitted as
in approach 3 of Hoffmann et al. 2022: Huber's loss of the error's logarithm, from many starts.

Shapes: R data sets (or draws), N runs, M sizes to predict, K parameters.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from genrescale.scaling.robust import Curve, fit_many

EXPONENT_RANGE = (0.01, 3.0)
DELTA = 1e-3  # of Huber's loss, Hoffmann et al. 2022, where seeds do not tell their spread
_EFFICIENT = 1.345  # spreads: Huber's choice, which costs 5 % of the efficiency where the noise is normal
_MEDIAN_PAIR = 0.954  # standard deviations: the median difference of two normal draws
_FAR = 12.0  # powers of e: a part of the error that is so much smaller counts for nothing
_SHAPES = 13
_SHARES = (0.3, 0.8, 0.99)  # of the smallest error, that no data removes
_REFIT = 1e-4  # tolerance of a refit: a small part of what seeds do to a curve


class Law(Protocol):
    """A law: fits many data sets at once, and says the values of its curves and the names of its parameters."""

    @property
    def key(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def formula(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...

    def fit(self, size_N: np.ndarray, value_RN: np.ndarray, higher_is_better: bool) -> np.ndarray:
        """Return the parameters (R, K). Raises ValueError for values that the law cannot have."""
        ...

    def refit(
        self,
        size_N: np.ndarray,
        value_RN: np.ndarray,
        higher_is_better: bool,
        start_RK: np.ndarray,
        delta_R: np.ndarray,
    ) -> np.ndarray:
        """Return the parameters (R, K) of data near those that gave ``start_RK``, with the ``delta`` of those."""
        ...

    def predict(self, param_RK: np.ndarray, size_M: np.ndarray, higher_is_better: bool) -> np.ndarray:
        """Return the metric (R, M)."""
        ...

    def delta(self, size_N: np.ndarray, value_N: np.ndarray, higher_is_better: bool) -> float:
        """Up to which residual Huber's loss is a square; no matter for a law by least squares."""
        ...

    def at_limit(self, param_K: np.ndarray, size_N: np.ndarray) -> str:
        """Say which parameter the points do not determine; "" if they do."""
        ...

    def named(self, param_K: np.ndarray) -> dict[str, float]:
        """Return the parameters by name, in songs and in units of the metric."""
        ...


@dataclass(frozen=True)
class StraightLaw:
    """``metric = intercept + slope * x``, x songs or log10(songs)."""

    key: str
    label: str
    formula: str
    logarithmic: bool
    names: tuple[str, ...] = ("intercept", "slope")

    def fit(self, size_N: np.ndarray, value_RN: np.ndarray, higher_is_better: bool) -> np.ndarray:
        x_N = self._x(size_N)
        centred_N = x_N - x_N.mean()
        slope_R = value_RN @ centred_N / (centred_N @ centred_N)
        return np.stack([value_RN.mean(axis=1) - slope_R * x_N.mean(), slope_R], axis=1)

    def refit(
        self,
        size_N: np.ndarray,
        value_RN: np.ndarray,
        higher_is_better: bool,
        start_RK: np.ndarray,
        delta_R: np.ndarray,
    ) -> np.ndarray:
        return self.fit(size_N, value_RN, higher_is_better)

    def predict(self, param_RK: np.ndarray, size_M: np.ndarray, higher_is_better: bool) -> np.ndarray:
        return param_RK[:, :1] + param_RK[:, 1:] * self._x(size_M)

    def delta(self, size_N: np.ndarray, value_N: np.ndarray, higher_is_better: bool) -> float:
        return DELTA

    def at_limit(self, param_K: np.ndarray, size_N: np.ndarray) -> str:
        return ""

    def named(self, param_K: np.ndarray) -> dict[str, float]:
        return dict(zip(self.names, param_K.tolist(), strict=True))

    def _x(self, size_N: np.ndarray) -> np.ndarray:
        return np.log10(size_N) if self.logarithmic else size_N


@dataclass(frozen=True)
class ErrorLaw:
    """``error = E + A * g(songs; shape)``, g falling from 1: a power, or a hyperbola with a half size.

    Parameters are log E, log A and the shape: the exponent c, or log h.
    """

    key: str
    label: str
    formula: str
    kind: Literal["power", "saturating"]
    names: tuple[str, ...]

    def fit(self, size_N: np.ndarray, value_RN: np.ndarray, higher_is_better: bool) -> np.ndarray:
        log_RN = np.log(errors(value_RN, higher_is_better))
        bounds_K2 = self._bounds(size_N, log_RN)
        start_SK = [self._starts(size_N, log_N) for log_N in log_RN]
        starts = len(start_SK[0])
        delta_P = np.repeat([_delta(size_N, log_N) for log_N in log_RN], starts)
        found_PK, loss_P = fit_many(
            self._curve(size_N), np.concatenate(start_SK), np.repeat(log_RN, starts, axis=0), delta_P, bounds_K2
        )
        best_R = loss_P.reshape(-1, starts).argmin(axis=1)
        return found_PK.reshape(len(log_RN), starts, -1)[np.arange(len(log_RN)), best_R]

    def refit(
        self,
        size_N: np.ndarray,
        value_RN: np.ndarray,
        higher_is_better: bool,
        start_RK: np.ndarray,
        delta_R: np.ndarray,
    ) -> np.ndarray:
        error_RN = 1 - value_RN if higher_is_better else value_RN
        log_RN = np.log(
            np.maximum(error_RN, 0.01 * np.median(error_RN, axis=1, keepdims=True))
        )  # a draw may pass a perfect score
        bounds_K2 = self._bounds(size_N, log_RN)
        return fit_many(self._curve(size_N), start_RK, log_RN, delta_R, bounds_K2, _REFIT)[0]

    def predict(self, param_RK: np.ndarray, size_M: np.ndarray, higher_is_better: bool) -> np.ndarray:
        fall_RM, _ = _falling(self.kind, np.log(size_M), param_RK[:, 2:])
        error_RM = np.exp(param_RK[:, :1]) + np.exp(param_RK[:, 1:2] + fall_RM)
        return 1 - error_RM if higher_is_better else error_RM

    def delta(self, size_N: np.ndarray, value_N: np.ndarray, higher_is_better: bool) -> float:
        return _delta(size_N, np.log(errors(value_N, higher_is_better)))

    def at_limit(self, param_K: np.ndarray, size_N: np.ndarray) -> str:
        low, high = self._shape_range(size_N)
        if low + 1e-3 * (high - low) < param_K[2] < high - 1e-3 * (high - low):
            return ""
        return f"the points do not fix its {'exponent' if self.kind == 'power' else 'half size'}"

    def named(self, param_K: np.ndarray) -> dict[str, float]:
        e, a, shape = param_K.tolist()
        return dict(
            zip(self.names, (math.exp(e), math.exp(a), shape if self.kind == "power" else math.exp(shape)), strict=True)
        )

    def _shape_range(self, size_N: np.ndarray) -> tuple[float, float]:
        if self.kind == "power":
            return EXPONENT_RANGE
        return math.log(size_N.min() / 100), math.log(size_N.max() * 100)

    def _bounds(self, size_N: np.ndarray, log_RN: np.ndarray) -> np.ndarray:
        low, high = float(log_RN.min()), float(log_RN.max())
        far = EXPONENT_RANGE[1] * math.log(size_N.max()) if self.kind == "power" else _FAR
        return np.array([[low - _FAR, high], [low - _FAR, high + _FAR + far], self._shape_range(size_N)])

    def _starts(self, size_N: np.ndarray, log_N: np.ndarray) -> np.ndarray:
        """Starts (S, K): shapes over their range, each with several shares that no data removes."""
        (low, high), power = self._shape_range(size_N), self.kind == "power"
        shapes = np.geomspace(low, high, _SHAPES) if power else np.linspace(low, high, _SHAPES)
        smallest, largest = math.exp(log_N.min()), math.exp(log_N.max())
        starts = []
        for shape, share in itertools.product(shapes[1:-1], _SHARES):
            fall = float(_falling(self.kind, np.log(size_N.min()), shape)[0])
            gained = max(largest - share * smallest, 1e-3 * smallest)
            starts.append((math.log(share * smallest), math.log(gained) - fall, shape))
        return np.array(starts)

    def _curve(self, size_M: np.ndarray) -> Curve:
        unique_U, place_M = np.unique(size_M, return_inverse=True)  # the seeds of a size share their curve
        log_U = np.log(unique_U)

        def curve(param_PK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            fall_PU, slope_PU = _falling(self.kind, log_U, param_PK[:, 2:])
            total_PU = np.logaddexp(param_PK[:, :1], param_PK[:, 1:2] + fall_PU)
            slope_PUK = np.empty((*total_PU.shape, 3))
            slope_PUK[..., 0] = np.exp(param_PK[:, :1] - total_PU)
            slope_PUK[..., 1] = 1 - slope_PUK[..., 0]
            slope_PUK[..., 2] = slope_PUK[..., 1] * slope_PU
            return total_PU[:, place_M], slope_PUK[:, place_M]

        return curve


def _falling(kind: str, log_M: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log g and its derivative by the shape: ``n**-c``, or ``1 / (1 + n / h)`` by log h."""
    if kind == "power":
        return -shape * log_M, -log_M
    return -np.logaddexp(0.0, log_M - shape), 1 / (1 + np.exp(shape - log_M))


def errors(values: np.ndarray, higher_is_better: bool) -> np.ndarray:
    """Return the error: 1 - metric, or the metric. Raises ValueError if one is not greater than 0."""
    error = 1 - values if higher_is_better else np.asarray(values)
    if (error <= 0).any():
        kind = "below 1" if higher_is_better else "greater than 0"
        raise ValueError(f"a law of the error needs values {kind}: a perfect score has no logarithm")
    return error


def _delta(size_N: np.ndarray, log_N: np.ndarray) -> float:
    """A little more than the seeds' spread in logs: residuals up to it are squared, larger ones count linearly.

    The spread is from the median difference of two seeds, which a stray run does not move.
    """
    groups = [log_N[size_N == size] for size in np.unique(size_N)]
    pairs = [abs(a - b) for group in groups for a, b in itertools.combinations(group.tolist(), 2)]
    return max(DELTA, _EFFICIENT * float(np.median(pairs)) / _MEDIAN_PAIR) if pairs else DELTA


LINEAR = StraightLaw("linear", "straight line in songs", "a + b·n", logarithmic=False)
LOG = StraightLaw("log", "straight line in log songs", "a + b·log n", logarithmic=True)
POWER = ErrorLaw("power", "power law", "error = E + A / n^c", "power", ("E", "A", "c"))
SATURATING = ErrorLaw("saturating", "saturating curve", "error = E + A / (1 + n/h)", "saturating", ("E", "A", "h"))
LAWS: tuple[Law, ...] = (LINEAR, LOG, POWER, SATURATING)
