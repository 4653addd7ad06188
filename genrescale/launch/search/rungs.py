"""ASHA's rungs (Li et al. 2020): the steps at which the trials of one family and size are compared, and who goes on.

A trial that reaches a rung goes on if it is among the best 1/reduction of those that have reached it by then. Nobody
waits for others, so the first always goes on, and a trial that was stopped is not called back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genrescale.config import OptimConfig
from genrescale.config.numbers import ceil_div
from genrescale.config.search import SearchConfig


@dataclass(frozen=True)
class Rungs:
    """``steps`` of the rungs, ascending, all below the end of a run."""

    steps: tuple[int, ...]
    reduction: int

    def due(self, step: int, done: Sequence[int]) -> int | None:
        """The highest rung below ``step`` steps, or at them, that is above those ``done``; None if there is none."""
        reached = [rung for rung in self.steps if rung <= step and rung > max(done, default=0)]
        return reached[-1] if reached else None

    def keeps(self, score: float, reached: Sequence[float], lower: bool) -> bool:
        """Whether the trial with ``score`` goes on; ``reached`` are the scores of the others at this rung.

        ``lower`` scores are better, or higher ones.
        """
        better = sum(other < score if lower else other > score for other in reached)
        return better < max(1, (len(reached) + 1) // self.reduction)


def rungs_of(search: SearchConfig, optim: OptimConfig) -> Rungs:
    """The rungs of a run: multiples of its validations, because only these score it.

    Raises ValueError if there is none before the end of the run.
    """
    rung = search.first_rung or ceil_div(optim.max_steps, search.reduction**2)
    steps: list[int] = []
    while rung < optim.max_steps:
        steps.append(ceil_div(rung, optim.validate_every) * optim.validate_every)
        rung *= search.reduction
    steps = [step for step in dict.fromkeys(steps) if step < optim.max_steps]
    if not steps:
        raise ValueError(
            f"search.algorithm=asha has no rung before the end: runs of optim.max_steps={optim.max_steps} validate "
            f"every {optim.validate_every} steps; lower optim.validate_every or search.first_rung"
        )
    return Rungs(tuple(steps), search.reduction)
