"""Measures of overfitting: the overfit scores of COMP-520, the gap curve, and checkpoint selection by the gap.

A curve is a run's ``curve.parquet`` (``genrescale.results.CURVE_COLUMNS``), one row per validation. Its training loss
is the mean over the steps since the previous validation, with dropout and augmentation. Its validation loss is without
both, over averaged windows. So a strongly regularised run may have a negative gap, as in the GTZAN project.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genrescale.config.optim import LOSS_SELECTORS


def overfit_score(train_loss: float, val_accuracy: float) -> float:
    """Equation 1 of the COMP-520 report, as printed: (1 - accuracy) L / (1 + L). Smaller means more overfitting.

    ``train_loss`` is the final training loss, at least 0. ``val_accuracy`` is a share from 0 to 1 (the report prints
    percent). The report's tables do not hold this value but ``overfit_ratio``.
    """
    if not 0 <= val_accuracy <= 1:
        raise ValueError(f"val_accuracy={val_accuracy} must be a share from 0 to 1 (divide percent by 100)")
    return (1 - val_accuracy) * overfit_ratio(train_loss)


def overfit_ratio(train_loss: float) -> float:
    """The "Overfit" column of the COMP-520 report's tables: L / (1 + L). It does not depend on validation."""
    if not train_loss >= 0:
        raise ValueError(f"train_loss={train_loss} must be at least 0")
    return train_loss / (1 + train_loss)


@dataclass(frozen=True)
class Overfit:
    """Both overfit scores of a run. ``printed`` is None if there is no validation accuracy."""

    train_loss: float
    val_accuracy: float | None
    printed: float | None
    tabulated: float


def overfit(train_loss: float, val_accuracy: float | None) -> Overfit:
    """Compute both overfit scores of the COMP-520 report: that of its equation and that of its tables."""
    printed = None if val_accuracy is None else overfit_score(train_loss, val_accuracy)
    return Overfit(train_loss, val_accuracy, printed, overfit_ratio(train_loss))


@dataclass(frozen=True, eq=False)
class GapCurve:
    """Losses at each validation (V,), and the gap: validation minus training loss.

    A positive gap means that training songs do better.
    """

    step_V: np.ndarray
    train_loss_V: np.ndarray
    val_loss_V: np.ndarray

    @property
    def gap_V(self) -> np.ndarray:
        return self.val_loss_V - self.train_loss_V


def gap_curve(step: Sequence[float], train_loss: ArrayLike, val_loss: ArrayLike) -> GapCurve:
    """Make a GapCurve. Raises ValueError for no validations, unequal lengths, and values that are not finite."""
    columns = [np.asarray(values, dtype=np.float64) for values in (step, train_loss, val_loss)]
    if columns[0].ndim != 1 or not len(columns[0]) or any(values.shape != columns[0].shape for values in columns):
        raise ValueError(f"a curve needs one training and validation loss a step, got {[v.shape for v in columns]}")
    if not all(np.isfinite(values).all() for values in columns):
        raise ValueError("a curve's steps and losses must be finite: leave out missing values")
    return GapCurve(*columns)


def select_step(curve: GapCurve, selector: str = "val_loss", tolerance: float = 0.15) -> int:
    """Select the step whose checkpoint to keep.

    ``val_loss``: the lowest validation loss. ``gap``: the smallest absolute gap among steps whose validation loss is at
    most (1 + tolerance) times the lowest; of equal ones, the lower validation loss. Without the tolerance, the
    untrained model would be chosen, because it does equally badly on all songs. The GTZAN project chooses among epochs
    with validation accuracy above 84 %, whose error is at most 1.15 times the best one's, hence the default. It keeps
    epoch 117 (validation 85.1 %, gap near zero; test 79 %) rather than 63 (86.1 %; 77 %).
    """
    if selector not in LOSS_SELECTORS:
        raise ValueError(f"selector {selector!r} is none of {list(LOSS_SELECTORS)}")
    if not tolerance >= 0:
        raise ValueError(f"tolerance={tolerance} must be at least 0")
    if selector == "val_loss":
        return int(curve.step_V[curve.val_loss_V.argmin()])
    good_V = curve.val_loss_V <= (1 + tolerance) * curve.val_loss_V.min()
    order_V = np.lexsort((curve.val_loss_V, np.where(good_V, np.abs(curve.gap_V), np.inf)))
    return int(curve.step_V[order_V[0]])


def possible_steps(curve: GapCurve, tolerance: float = 0.15) -> list[int]:
    """List the steps that ``select_step(..., "gap")`` may choose now or later, however the curve continues.

    A later, lower validation loss may put the current choice outside the tolerance, so that an earlier step with a
    lower loss and a larger gap is chosen. Two kinds of steps can never be chosen again: those already outside the
    tolerance, and those for which another step has at most their loss and at most their gap. The weights of all other
    steps must be kept.
    """
    steps = []
    for i, (val_loss, gap) in enumerate(zip(curve.val_loss_V, np.abs(curve.gap_V), strict=True)):
        beats_V = (curve.val_loss_V <= val_loss) & (np.abs(curve.gap_V) <= gap)
        same_V = (curve.val_loss_V == val_loss) & (np.abs(curve.gap_V) == gap)
        beaten = (beats_V & ~same_V).any() or same_V[:i].any()  # of equal steps the first is chosen
        if not beaten and val_loss <= (1 + tolerance) * curve.val_loss_V.min():
            steps.append(int(curve.step_V[i]))
    return steps
