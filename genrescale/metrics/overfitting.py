"""How much better a run does on its training songs: an overfit score, the gap as a curve, a checkpoint chosen by it.

from genrescale.config.optim import LOSS_SELECTORS


A curve is a run's ``curve.parquet`` (``genrescale.results.CURVE_COLUMNS``), one row per validation. Its training loss
is the mean over the steps since the validation before, with dropout and augmentation; its validation loss is of
averaged windows without them. So a strongly regularised run may have a gap below zero, as the GTZAN project's had.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from genrescale.config.optim import LOSS_SELECTORS


def overfit_score(train_loss: float, val_accuracy: float) -> float:
    """The COMP-520 report's equation 1, as printed: (1 - accuracy) L / (1 + L). Smaller means more overfitting.

    ``train_loss`` is the final training loss, at least 0; ``val_accuracy`` is a share, from 0 to 1 (the report writes
    it in percent). No value of the report's tables is this: they hold ``overfit_ratio``.
    """
    if not 0 <= val_accuracy <= 1:
        raise ValueError(f"val_accuracy is a share from 0 to 1, not {val_accuracy} (divide percent by 100)")
    return (1 - val_accuracy) * overfit_ratio(train_loss)


def overfit_ratio(train_loss: float) -> float:
    """The "Overfit" column of the COMP-520 report's tables: L / (1 + L), which no validation enters."""
    if not train_loss >= 0:
        raise ValueError(f"train_loss is {train_loss}; it must be at least 0")
    return train_loss / (1 + train_loss)


@dataclass(frozen=True)
class Overfit:
    """Both overfit scores of a run; ``printed`` is None where no validation accuracy is known."""

    train_loss: float
    val_accuracy: float | None
    printed: float | None
    tabulated: float


def overfit(train_loss: float, val_accuracy: float | None) -> Overfit:
    """The overfit scores of the COMP-520 report, as its equation and as its tables have them."""
    printed = None if val_accuracy is None else overfit_score(train_loss, val_accuracy)
    return Overfit(train_loss, val_accuracy, printed, overfit_ratio(train_loss))


@dataclass(frozen=True, eq=False)
class GapCurve:
    """Losses at each validation (V,), and validation minus training loss: above zero, training songs do better."""

    step_V: np.ndarray
    train_loss_V: np.ndarray
    val_loss_V: np.ndarray

    @property
    def gap_V(self) -> np.ndarray:
        return self.val_loss_V - self.train_loss_V


def gap_curve(step: Sequence[float], train_loss: ArrayLike, val_loss: ArrayLike) -> GapCurve:
    """The generalisation gap as a curve. Raises ValueError where there is no validation or a loss is missing."""
    columns = [np.asarray(values, dtype=np.float64) for values in (step, train_loss, val_loss)]
    if columns[0].ndim != 1 or not len(columns[0]) or any(values.shape != columns[0].shape for values in columns):
        raise ValueError(f"a curve needs one training and one validation loss a step, got {[v.shape for v in columns]}")
    if not all(np.isfinite(values).all() for values in columns):
        raise ValueError("a curve's steps and losses must be finite: leave out what was not measured")
    return GapCurve(*columns)


def select_step(curve: GapCurve, selector: str = "val_loss", tolerance: float = 0.15) -> int:
    """The step whose checkpoint to keep.

    ``val_loss``: the lowest validation loss. ``gap``: of the steps whose validation loss is at most (1 + tolerance)
    times the lowest, the one with the smallest gap, above or below zero; of equal ones the lower validation loss.
    The GTZAN project keeps epoch 117 (validation accuracy 85.1 %, gap near zero; test 79 %) rather than 63 (86.1 %;
    77 %), among epochs above 84 %; those 84 % are 1.15 times the best's error, hence the default. Without such a
    floor the untrained model, which does equally badly everywhere, would have the smallest gap.
    """
    if selector not in LOSS_SELECTORS:
        raise ValueError(f"selector {selector!r} is none of {list(LOSS_SELECTORS)}")
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; it must be at least 0")
    if selector == "val_loss":
        return int(curve.step_V[curve.val_loss_V.argmin()])
    good_V = curve.val_loss_V <= (1 + tolerance) * curve.val_loss_V.min()
    order_V = np.lexsort((curve.val_loss_V, np.where(good_V, np.abs(curve.gap_V), np.inf)))
    return int(curve.step_V[order_V[0]])


def possible_steps(curve: GapCurve, tolerance: float = 0.15) -> list[int]:
    """The steps that ``select_step(..., "gap")`` may still choose, however the curve goes on; one is its choice.

    A lower validation loss may come and put the present choice out of reach of the lowest: then an earlier step with
    a lower loss and a larger gap is chosen. What can never be chosen again is a step that is out of reach by now, and
    one that another step beats in both: at most its loss and at most its gap. So all others' weights have to be kept.
    """
    steps = []
    for i, (val_loss, gap) in enumerate(zip(curve.val_loss_V, np.abs(curve.gap_V), strict=True)):
        beats_V = (curve.val_loss_V <= val_loss) & (np.abs(curve.gap_V) <= gap)
        same_V = (curve.val_loss_V == val_loss) & (np.abs(curve.gap_V) == gap)
        beaten = (beats_V & ~same_V).any() or same_V[:i].any()  # of equal steps the first is chosen
        if not beaten and val_loss <= (1 + tolerance) * curve.val_loss_V.min():
            steps.append(int(curve.step_V[i]))
    return steps
