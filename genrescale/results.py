"""What a run leaves behind: one typed result row, one score table and one learning curve.

Layout under a sweep's ``out`` folder::

    sweep.json                      the planned trials: what a report must show, or show as missing
    runs/{run_id}/result.json       ResultRow
    runs/{run_id}/scores.parquet    one row per test song: key, num_crops, padded, true (K,), score (K,)
    runs/{run_id}/curve.parquet     one row per validation: step, train_loss, val_loss, val_roc_auc, ...

Every number in a report comes from a ResultRow, and a ResultRow's metrics recompute from its score table.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class ResultRow:
    """One finished run. ``None`` marks a metric that its tags do not define (no regress tag: no RMSE)."""

    run_id: str
    model: str
    dials: dict[str, Any]
    size: int
    seed: int
    lr: float
    labels: str
    num_params: int
    # test metrics of the best checkpoint, over songs
    roc_auc: float | None
    pr_auc: float | None
    rmse: float | None
    accuracy: float | None
    test_songs: int
    padded_songs: int
    unscored_tags: list[str]
    # training
    val_loss: float
    best_step: int
    steps: int
    max_steps: int
    stopped_early: bool
    epochs: float
    # cost
    seconds_total: float
    seconds_to_first_step: float
    seconds_training: float
    songs_per_s: float
    data_wait_share: float
    bytes_read: int
    workers: int
    device: str
    corpus: str
    corpus_version: str
    data_digest: str
    config: dict[str, Any]
    finished_at: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ResultRow:
        """Raises ValueError that names the missing or unknown fields."""
        names = {f.name for f in fields(cls)}
        missing, unknown = sorted(names - set(values)), sorted(set(values) - names)
        if missing or unknown:
            raise ValueError(f"not a result row: missing fields {missing}, unknown fields {unknown}")
        return cls(**values)


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of a sweep: its run id, the axis it belongs to and its coordinates.

    ``axis`` is ``grid`` (family x size x seed), ``lr`` or ``layers``. ``config`` is the run's science as a dict.
    """

    run_id: str
    axis: str
    model: str
    size: int
    seed: int
    lr: float
    layers: dict[str, int]
    config: dict[str, Any]


CURVE_COLUMNS = ("step", "epoch", "lr", "train_loss", "val_loss", "val_roc_auc", "val_pr_auc", "val_rmse")
