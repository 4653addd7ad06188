"""The losses' names and dials: defaults (each paper's values), ranges, and what a default written out makes of them.

Plain Python: ``config`` checks a run by this before anything is imported or built.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


def _within(low: float, high: float, **dials: object) -> None:
    """Raise ValueError for a dial that is not a number from ``low`` up to, but not including, ``high``."""
    for name, value in dials.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
            allowed = f"a finite number of at least {low:g}" + (f" and below {high:g}" if math.isfinite(high) else "")
            raise ValueError(f"dial {name}={value!r} of the loss must be {allowed}")


@dataclass(frozen=True, kw_only=True)
class NoDials:
    """A loss that has none."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropyDials:
    """``label_smoothing`` is the share of a target that is spread over all K tags: .1 (GTZAN study A), .2 (B)."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _within(0, 1, label_smoothing=self.label_smoothing)


@dataclass(frozen=True, kw_only=True)
class FocalDials:
    """``alpha`` weighs what is there, 1 - alpha what is not (None: 1 and 1); ``gamma`` plays down what is right."""

    alpha: float | None = 0.25
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if self.alpha is not None:
            _within(0, 1, alpha=self.alpha)
        _within(0, math.inf, gamma=self.gamma)


@dataclass(frozen=True, kw_only=True)
class ClassBalancedDials:
    """``beta`` 0 weighs all tags alike, near 1 by the inverse of their songs; ``gamma`` as in FocalDials."""

    beta: float = 0.995
    gamma: float = 2.0

    def __post_init__(self) -> None:
        _within(0, 1, beta=self.beta)
        _within(0, math.inf, gamma=self.gamma)


@dataclass(frozen=True, kw_only=True)
class DistributionBalancedDials(FocalDials):
    """MediaEval 2020's values; ``genrescale.losses.distribution_balanced`` says what each does.

    Those of Wu et al. 2020 for K tags: alpha None, scale 2 / K, kappa .05; negative_scale 5 and r_middle .3 on VOC, 2
    and .2 on COCO.
    """

    negative_scale: float = 2.0
    kappa: float = 0.0
    r_lift: float = 0.1
    r_slope: float = 10.0
    r_middle: float = 0.2
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _within(0, math.inf, kappa=self.kappa, r_lift=self.r_lift, r_middle=self.r_middle)
        # A slope of 0 would be 0 x infinity for a clip without tags; a scale of 0 trains nothing.
        least = 1e-6
        _within(least, math.inf, negative_scale=self.negative_scale, r_slope=self.r_slope, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class PretextDials:
    """``generative_weight`` is what the error of redrawn patches counts for, beside telling patches apart."""

    generative_weight: float = 10.0

    def __post_init__(self) -> None:
        _within(0, math.inf, generative_weight=self.generative_weight)


PRETEXT = "pretext"  # the loss of models that are trained without tags
LossDials = NoDials | CrossEntropyDials | FocalDials | ClassBalancedDials | PretextDials
LOSS_DIALS: dict[str, type[LossDials]] = {
    "by_kind": NoDials,
    "bce": NoDials,
    "mse": NoDials,
    "cross_entropy": CrossEntropyDials,
    "focal": FocalDials,
    "class_balanced": ClassBalancedDials,
    "distribution_balanced": DistributionBalancedDials,
    PRETEXT: PretextDials,
}


def loss_dials(name: str, dials: Mapping[str, Any]) -> LossDials:
    """The dials of a loss: ``dials`` over the defaults. Raises ValueError for an unknown name, dial or value."""
    if name not in LOSS_DIALS:
        raise ValueError(f"loss={name!r} is none of {list(LOSS_DIALS)}")
    allowed = [field.name for field in fields(LOSS_DIALS[name])]
    if unknown := sorted(set(dials) - set(allowed)):
        raise ValueError(f"loss {name!r} has no dials {unknown}; it has {allowed}")
    return LOSS_DIALS[name](**dials)


def full_loss_dials(name: str, dials: Mapping[str, Any]) -> dict[str, float | None]:
    """All dials of a loss with their values, so that a default and the same value given (as 2 or 2.0) are one run."""
    values = asdict(loss_dials(name, dials))
    return {dial: None if value is None else float(value) for dial, value in values.items()}
