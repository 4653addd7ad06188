"""Learning rates as pure functions of the step, and what a validation changes: best checkpoint, plateau, stop.

A step is counted from 0; ``learning_rate(optim, step)`` is the rate that step is trained with.
"""

from __future__ import annotations

import math
from typing import Any

from genrescale.config import OptimConfig
from genrescale.training.state import RunState

DIVERGED = "training diverged"


def in_sgd_phase(optim: OptimConfig, step: int) -> bool:
    """True where SGD has taken over from Adam."""
    return 0 < optim.sgd_after <= step


def learning_rate(optim: OptimConfig, step: int, cuts: int = 0) -> float:
    """The rate of ``step`` after ``cuts`` plateaus.

    SGD's phase: one of ``sgd_lrs`` for every ``sgd_lr_steps`` steps, the last until the end (Won 2020 and MediaEval
    2020 give epochs). ``cosine`` falls by step from ``lr`` at the end of the warm-up to 0 at ``max_steps`` (the GTZAN
    project by epoch, which ends at the same 0). ``exponential`` counts ``decay_start`` as its first cut (SSAST: times
    .85 at epoch 6 and at each one after). The warm-up reaches ``lr`` with its last step.
    """
    if in_sgd_phase(optim, step):
        drops = (step - optim.sgd_after) // optim.sgd_lr_steps if optim.sgd_lr_steps else 0
        return optim.sgd_lrs[min(drops, len(optim.sgd_lrs) - 1)]
    return optim.lr * min(1.0, (step + 1) / (optim.warmup_steps or 1)) * _schedule(optim, step, cuts)


def _schedule(optim: OptimConfig, step: int, cuts: int) -> float:
    """The schedule's factor at ``step``, without the warm-up."""
    if optim.schedule == "plateau":
        return optim.plateau_factor**cuts
    if optim.schedule == "cosine":
        done = max(0, step - optim.warmup_steps) / (optim.max_steps - optim.warmup_steps)
        return 0.5 * (1.0 + math.cos(math.pi * done))
    if optim.schedule == "exponential" and step >= optim.decay_start:
        return optim.decay_factor ** (1 + (step - optim.decay_start) // optim.decay_every)
    return 1.0


def check_finite(val_loss: float, step: int, lr: float) -> None:
    """Raises ValueError where training has diverged."""
    if not math.isfinite(val_loss):
        raise ValueError(f"validation loss is {val_loss} at step {step}: {DIVERGED}; use a lower lr than {lr}")


def selector(optim: OptimConfig, val_loss: float, metrics: dict[str, Any]) -> float:
    """The figure that ranks checkpoints, lower is better. Raises ValueError where the tags do not define it."""
    if optim.best_by == "val_loss":
        return val_loss
    name = optim.best_by.removeprefix("val_")
    if metrics[name] is None:
        raise ValueError(f"best_by={optim.best_by}, but the validation songs define no {name}; use best_by=val_loss")
    return -float(metrics[name])


def after_validation(state: RunState, optim: OptimConfig, val_loss: float, rank: float | None = None) -> bool:
    """Apply the rules after a validation at ``state.step``; True if this is the best checkpoint so far.

    ``rank`` is the figure of ``selector`` (by default the loss). Plateaus and stopping count steps, not epochs, so that
    the rule is the same at every dataset size. As in musicnn-training, the wait starts anew after each cut.
    """
    rank = val_loss if rank is None else rank
    best = rank < state.best_rank
    if best:
        state.best_rank, state.best_loss, state.best_step = rank, val_loss, state.step
        state.stale_steps = 0 if optim.plateau_resets else state.stale_steps
    else:
        state.stale_steps += state.step - state.validated_step
    state.validated_step = state.step
    if optim.schedule == "plateau" and state.stale_steps >= optim.plateau_steps:
        state.cuts += 1
        state.stale_steps = 0
        state.lr = learning_rate(optim, state.step, state.cuts)
    if optim.patience_steps and state.step - state.best_step >= optim.patience_steps:
        state.stopped_early = True
    return best
