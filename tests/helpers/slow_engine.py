"""An engine for tests of the loop: it computes nothing, and a clock of its own says how long that took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genrescale.training.engine import TrainGroup


@dataclass
class Clock:
    now: float = 0.0

    def tick(self, seconds: float) -> float:
        self.now += seconds
        return self.now


class SlowEngine:
    """Ten seconds to a step, five to a group that is scored."""

    rank, world_size, gathers, device = 0, 1, False, torch.device("cpu")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def train_step(self, step: int, groups: Iterator[TrainGroup], count: int) -> torch.Tensor:
        assert len(list(groups)) == count
        self._clock.tick(10)
        return torch.tensor(1.0, dtype=torch.float64)

    def logits(self, wave_BT: np.ndarray, group: int) -> torch.Tensor:
        self._clock.tick(5)
        return torch.zeros(len(wave_BT), 1)

    def save(self, folder: Path) -> None:
        (folder / "layout.json").write_text("[0, 1]")

    def load(self, folder: Path) -> None: ...

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def sum_over_ranks(self, *values: float) -> list[float]:
        return list(values)

    def weights(self) -> dict[str, torch.Tensor]:
        return {}

    def set_lr(self, lr: float, sgd: bool) -> None: ...
