"""The two scales of a study: how the runs of each of its corpora are trained, at the paper's size and in minutes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from genrescale.config import AugmentConfig, DataConfig, OptimConfig
from genrescale.config.checks import require
from genrescale.config.corpus import ShardSettings, SynthesisConfig

SCALES = ("paper", "demo")


@dataclass
class RecipeConfig:
    """How the runs on one corpus of a study are trained; the study's tables say which models these are.

    ``sizes`` are numbers of training songs, ascending; none: all that the corpus has. Tables that have a row for each
    size take all of them, others the largest. ``seeds`` are those of every row. ``data.size`` has no effect.
    """

    sizes: list[int] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: str = "by_kind"
    loss_dials: dict[str, Any] = field(default_factory=dict)
    precision: str = "fp32"

    def __post_init__(self) -> None:
        require(
            self.sizes == sorted(set(self.sizes)) and all(size > 0 for size in self.sizes),
            f"sizes={self.sizes} must be numbers of training songs in ascending order, none twice",
        )
        require(
            bool(self.seeds) and len(set(self.seeds)) == len(self.seeds),
            f"seeds={self.seeds} must hold at least one seed, and none twice",
        )
        require(
            self.data.size == DataConfig().size,
            f"data.size={self.data.size} has no effect in a study: set sizes=[...] of the recipe",
        )


@dataclass
class ScaleConfig:
    """One scale of a study. ``recipes`` are by corpus of the study; ``takes`` says how long it takes, and on what.

    ``narrow`` divides the widths of all models, so that they train in minutes: 1 is the paper's. A ``synthesis`` makes
    one corpus of synthetic songs, which stands for every corpus that is not given.
    """

    takes: str = ""
    recipes: dict[str, RecipeConfig] = field(default_factory=dict)
    narrow: int = 1
    synthesis: SynthesisConfig | None = None
    shards: ShardSettings = field(default_factory=ShardSettings)

    def __post_init__(self) -> None:
        require(
            self.narrow >= 1 and self.narrow & (self.narrow - 1) == 0,
            f"narrow={self.narrow} must be 1, 2, 4 or another power of two, by which widths can be divided",
        )
