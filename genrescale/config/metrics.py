"""The table of metrics: name, label, direction, and which tags each needs. ``genrescale.metrics`` computes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DefinedBy = Literal["classify", "exclusive", "regress", "loss"]


@dataclass(frozen=True)
class Metric:
    """One metric. ``key`` is its name in result rows and tables, ``label`` its name in text and plots.

    ``defined_by`` is what it needs: ``classify`` tags, ``regress`` tags, an ``exclusive`` vocabulary (one tag a song),
    or only the ``loss``.
    """

    key: str
    label: str
    higher_is_better: bool
    defined_by: DefinedBy

    @property
    def better(self) -> str:
        return "higher is better" if self.higher_is_better else "lower is better"

    def gain(self, difference: float) -> float:
        """Return a difference a - b as the advantage of a: positive if a is better."""
        return difference if self.higher_is_better else -difference


_TABLE = (
    Metric("accuracy", "Accuracy", True, "exclusive"),
    Metric("roc_auc", "ROC-AUC", True, "classify"),
    Metric("pr_auc", "PR-AUC", True, "classify"),
    Metric("f1", "F1", True, "classify"),
    Metric("rmse", "RMSE", False, "regress"),
    Metric("micro_roc_auc", "Micro ROC-AUC", True, "classify"),
    Metric("micro_pr_auc", "Micro PR-AUC", True, "classify"),
    Metric("micro_f1", "Micro F1", True, "classify"),
    Metric("val_loss", "Validation loss", False, "loss"),
)
METRICS: dict[str, Metric] = {metric.key: metric for metric in _TABLE}
# Metrics in result rows, learning curves and model cards, in the order of Pons 2018, table 1, then accuracy.
ROW_METRICS = ("roc_auc", "pr_auc", "rmse", "accuracy")
# Metrics that an evaluation computes from score tables, in the order of its tables.
SCORE_METRICS = tuple(metric.key for metric in _TABLE if metric.defined_by != "loss")
