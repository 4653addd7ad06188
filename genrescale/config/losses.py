"""Names, dials, defaults (each paper's values) and ranges of the losses.

Plain Python without torch, so that ``config`` can check a run before anything is imported or built.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


def _within(low: float, high: float, **dials: object) -> None:
    """Raise ValueError for a dial that is not a number in [low, high)."""
    for name, value in dials.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
            allowed = f"a finite number of at least {low:g}" + (f" and below {high:g}" if math.isfinite(high) else "")
            raise ValueError(f"dial {name}={value!r} of the loss must be {allowed}")


@dataclass(frozen=True, kw_only=True)
class NoDials:
    """The dials of a loss without dials."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropyDials:
    """``label_smoothing`` is the share of a target spread evenly over all K tags: .1 in GTZAN study A, .2 in B."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        _within(0, 1, label_smoothing=self.label_smoothing)


@dataclass(frozen=True, kw_only=True)
class FocalDials:
    """``alpha`` weighs present tags, 1 - alpha absent ones (None: both 1); ``gamma`` down-weighs easy tags."""

    alpha: float | None = 0.25
    gamma: float = 2.0

    def __post_init__(self) -> None:
        if self.alpha is not None:
            _within(0, 1, alpha=self.alpha)
        _within(0, math.inf, gamma=self.gamma)


@dataclass(frozen=True, kw_only=True)
class ClassBalancedDials:
    """``beta`` 0 weighs all tags equally, near 1 by the inverse of their song counts; ``gamma`` as in FocalDials."""

    beta: float = 0.995
    gamma: float = 2.0

    def __post_init__(self) -> None:
        _within(0, 1, beta=self.beta)
        _within(0, math.inf, gamma=self.gamma)


@dataclass(frozen=True, kw_only=True)
class DistributionBalancedDials(FocalDials):
    """Defaults are those of MediaEval 2020; ``genrescale.losses.distribution_balanced`` explains each dial.

    Wu et al. 2020 use, for K tags: alpha None, scale 2 / K, kappa .05; negative_scale 5 and r_middle .3 on VOC, 2 and
    .2 on COCO.
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
        # A slope of 0 gives 0 x infinity for a clip without tags; a scale of 0 trains nothing.
        least = 1e-6
        _within(least, math.inf, negative_scale=self.negative_scale, r_slope=self.r_slope, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class PretextDials:
    """``generative_weight`` is the weight of the reconstruction loss; the discriminative loss has weight 1."""

    generative_weight: float = 10.0

    def __post_init__(self) -> None:
        _within(0, math.inf, generative_weight=self.generative_weight)


PRETEXT = "pretext"  # the loss of models that are pretrained without tags
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
    """Build the dials of a loss: its defaults, overridden by ``dials``.

    Raises ValueError for an unknown name, dial or value.
    """
    if name not in LOSS_DIALS:
        raise ValueError(f"loss={name!r} is none of {list(LOSS_DIALS)}")
    allowed = [field.name for field in fields(LOSS_DIALS[name])]
    if unknown := sorted(set(dials) - set(allowed)):
        raise ValueError(f"loss {name!r} has no dials {unknown}; it has {allowed}")
    return LOSS_DIALS[name](**dials)


def full_loss_dials(name: str, dials: Mapping[str, Any]) -> dict[str, float | None]:
    """Return all dials of a loss as floats, so that a default left out, and given as 2 or 2.0, gives one run id."""
    values = asdict(loss_dials(name, dials))
    return {dial: None if value is None else float(value) for dial, value in values.items()}
