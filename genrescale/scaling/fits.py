"""One law fitted to one family's runs, and whether its points support it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from genrescale.scaling.laws import LINEAR, POWER, Law
from genrescale.scaling.points import LEVEL, SAME, Seeds, check_points, flatten, pooled_spread, spread_freedom

POWER_LAW_MIN_SIZES = 4


@dataclass(frozen=True, eq=False)
class LawFit:
    """A law with its parameters. ``unsupported`` says why the points do not support it, "" if they do.

    A curve that they do not support may be shown as numbers, with this reason, and not as a line or a prediction.
    """

    law: Law
    param_K: np.ndarray
    higher_is_better: bool
    unsupported: str

    def predict(self, sizes: ArrayLike) -> np.ndarray:
        """Return the metric at ``sizes``, in their shape."""
        size = np.asarray(sizes, dtype=float)
        return self.law.predict(self.param_K[None], size.reshape(-1), self.higher_is_better)[0].reshape(size.shape)

    @property
    def parameters(self) -> dict[str, float]:
        return self.law.named(self.param_K)


def fit_law(law: Law, seeds: Seeds, higher_is_better: bool) -> LawFit:
    """Fit a law to the values of all seeds. Raises ValueError for fewer sizes than it has parameters, or bad values."""
    size_N, value_N = check_points(*flatten(seeds), min_sizes=len(law.names))
    param_K = law.fit(size_N, value_N[None], higher_is_better)[0]
    fit = LawFit(law, param_K, higher_is_better, "")
    return LawFit(law, param_K, higher_is_better, _unsupported(fit, seeds, size_N, value_N))


def too_few_sizes(law: Law, num_sizes: int) -> str:
    """Say that so few sizes cannot contradict a law; "" if they can."""
    needed = len(law.names) + 1
    if num_sizes >= needed:
        return ""
    name = "line" if needed == 3 else law.label
    return f"a {name} needs {needed} sizes, because one fits any {'two' if needed == 3 else 'three'}"


def _unsupported(fit: LawFit, seeds: Seeds, size_N: np.ndarray, value_N: np.ndarray) -> str:
    law = fit.law
    if reason := too_few_sizes(law, len(seeds)) or law.at_limit(fit.param_K, size_N) or _beside(fit, seeds):
        return reason
    if not _beats_a_constant(value_N, fit.predict(size_N), len(law.names)):
        return "its slope cannot be told from 0"
    return ""


def departure(fit: LawFit, seeds: Seeds) -> float:
    """The largest distance of a size's mean from the curve."""
    return max(abs(float(np.mean(values)) - float(fit.predict(size))) for size, values in seeds.items())


def _beside(fit: LawFit, seeds: Seeds) -> str:
    """Test by F whether the means lie beside the curve by more than the spread over seeds explains."""
    groups = list(seeds.values())
    spread, freedom, more = pooled_spread(groups), spread_freedom(groups), len(seeds) - len(fit.law.names)
    if spread is None:
        return ""
    beside = sum(len(v) * (float(np.mean(v)) - float(fit.predict(size))) ** 2 for size, v in seeds.items())
    allowed = more * spread**2 * float(stats.f.ppf(LEVEL, more, freedom))
    if beside <= allowed + len(seeds) * SAME**2:
        return ""
    kind = "a straight line" if fit.law is LINEAR else "the curve"
    return f"a mean lies {departure(fit, seeds):.4f} beside {kind}, more than seeds differ ({spread:.4f})"


def _beats_a_constant(value_N: np.ndarray, predicted_N: np.ndarray, num_params: int) -> bool:
    """Test by F; for a straight line this is whether the slope's interval excludes 0."""
    freedom = len(value_N) - num_params
    rest, total = float(((value_N - predicted_N) ** 2).sum()), float(((value_N - value_N.mean()) ** 2).sum())
    explained = (total - rest) / (num_params - 1)
    return explained > rest / freedom * float(stats.f.ppf(LEVEL, num_params - 1, freedom)) + SAME**2


@dataclass(frozen=True, eq=False)
class PowerLawFit:
    """``value = a - b * songs**-c``. ``a`` is the limit for many songs: a maximum if b > 0, a minimum if b < 0.

    ``at_limit`` means that the exponent is at an end of ``EXPONENT_RANGE``, or that next to no error is left for many
    songs: the points do not determine the limit, so do not interpret ``a`` as one.
    """

    a: float
    b: float
    c: float
    residuals: np.ndarray
    at_limit: bool

    def predict(self, sizes: ArrayLike) -> np.ndarray:
        return self.a - self.b * np.asarray(sizes, dtype=float) ** -self.c


def power_law_fit(sizes: ArrayLike, values: ArrayLike, higher_is_better: bool | None = None) -> PowerLawFit:
    """Fit a power law with an irreducible term, by Huber's loss of the error's logarithm (Hoffmann et al. 2022).

    The error is 1 - value where higher is better, else the value; None: higher is better if values rise with the
    size. Raises ValueError for fewer than four different sizes, and for values that leave no error.
    """
    size_N, value_N = check_points(sizes, values, POWER_LAW_MIN_SIZES)
    higher = float(np.polyfit(np.log(size_N), value_N, 1)[0]) > 0 if higher_is_better is None else higher_is_better
    param_K = POWER.fit(size_N, value_N[None], higher)[0]
    left, gained, exponent = POWER.named(param_K).values()
    a, b = (1 - left, gained) if higher else (left, -gained)
    residual_N = value_N - POWER.predict(param_K[None], size_N, higher)[0]
    nothing_left = left < 0.01 * float((1 - value_N if higher else value_N).min())
    return PowerLawFit(a, b, exponent, residual_N, nothing_left or bool(POWER.at_limit(param_K, size_N)))
