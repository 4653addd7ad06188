"""The axes and the recipe of a sweep."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from genrescale.config import AugmentConfig, DataConfig, OptimConfig
from genrescale.config.baselines import BaselinesConfig
from genrescale.config.checks import require
from genrescale.config.search import SearchConfig

FAMILIES = ("waveform", "spectrogram")  # what a sweep compares unless it says otherwise: any of MODELS


@dataclass
class ComputeConfig:
    """The axis of compute: models of several widths, each trained for the same numbers of operations.

    ``widths`` multiply the widths of each family's model in the recipe. ``budgets`` are operations of a run's training,
    forward and backward. It is trained at the largest size with the first seed, for as many steps as a budget allows,
    without early stopping.
    """

    widths: list[float] = field(default_factory=list)
    budgets: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("widths", "budgets"):
            values = getattr(self, name)
            require(
                len(set(values)) == len(values) and all(math.isfinite(value) and value > 0 for value in values),
                f"compute.{name}={values} must be numbers greater than 0, none twice",
            )
        require(
            bool(self.widths) == bool(self.budgets),
            f"compute.widths={self.widths} and compute.budgets={self.budgets} have an effect together only",
        )


@dataclass
class SweepConfig:
    """Axes and recipe of a sweep.

    Every family is trained at every size with every seed. Sizes below the largest take the first
    ``seeds_below_largest`` seeds only (0: all), where the largest is the question. The largest takes the first
    ``seeds_at_largest`` only (0: all), where it costs more than the others together. The ``lrs`` and layer counts are
    tried at the smallest size with the first seed, one axis at a time. ``dials`` are the models' other dials, by
    family. ``compute`` trains models of several widths for the same operations. ``search`` varies any other numbers of
    the recipe. ``baselines`` are trained at every size before the runs.
    """

    families: list[str] = field(default_factory=lambda: list(FAMILIES))
    sizes: list[int] = field(default_factory=lambda: [100_000, 500_000, 1_000_000])
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    seeds_below_largest: int = 0
    seeds_at_largest: int = 0
    lrs: list[float] = field(default_factory=list)
    backend_layers: list[int] = field(default_factory=list)
    frontend_layers: list[int] = field(default_factory=list)
    dials: dict[str, dict[str, Any]] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: str = "by_kind"
    loss_dials: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    baselines: BaselinesConfig = field(default_factory=BaselinesConfig)

    def __post_init__(self) -> None:
        for name in ("families", "sizes", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"{name}={values} must hold at least one value, and none twice")
        for name in ("seeds_below_largest", "seeds_at_largest"):
            if not 0 <= getattr(self, name) <= len(self.seeds):
                raise ValueError(
                    f"{name}={getattr(self, name)} must be from 1 to the number of seeds, {len(self.seeds)}, or 0 for "
                    "all of them"
                )
        if self.search.space and self.search.seed in self.seeds:
            raise ValueError(
                f"search.seed={self.search.seed} is a seed of the grid, {self.seeds}: a searched run, of which the "
                "luckiest is chosen, must be no point of a mean; take another seed for one of them"
            )
