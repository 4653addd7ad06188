"""Where a run stands that trains now: a file of its folder that its worker writes every few seconds, until it ends."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace

from genrescale.results import run_folder
from genrescale.results.typed import STRICT, read_typed
from genrescale.storage.json_bytes import JSON_BYTES
from genrescale.storage.store import Store

_SHOWN = {"val_loss": "loss", "val_pr_auc": "PR-AUC", "val_roc_auc": "ROC-AUC", "val_rmse": "RMSE"}


@dataclass(frozen=True)
class LiveRun:
    """``step`` steps are done; ``doing`` says what the worker does now.

    ``train_loss`` is the mean of its clips since the last validation, ``validation`` what that found. ``clips_per_s``
    are clips trained on by all workers, in training and validation time; ``wait_share`` is the share of that time that
    this worker waited for data, ``memory_bytes`` what it holds: of its GPU, or of the machine's memory without one.
    """

    __pydantic_config__ = STRICT

    step: int
    doing: str
    train_loss: float | None = None
    validation: dict[str, float | None] = field(default_factory=dict)
    lr: float = 0.0
    clips_per_s: float = 0.0
    wait_share: float = 0.0
    memory_bytes: int = 0

    def pace(self) -> dict[str, float]:
        """Return the figures that are of the machine, not of the model."""
        return {"clips_per_s": self.clips_per_s, "wait_share": self.wait_share, "memory_bytes": self.memory_bytes}

    def words(self) -> str:
        """Return what a line of progress says of the run."""
        parts = [f"step {self.step}", self.doing]
        if self.train_loss is not None:
            parts.append(f"train loss {self.train_loss:.4f}")
        shown = [
            f"{name} {value:.4f}" for key, name in _SHOWN.items() if (value := self.validation.get(key)) is not None
        ]
        if shown:
            parts.append(f"validated at step {self.validation.get('step') or 0:.0f}: {' '.join(shown)}")
        return ", ".join(part for part in parts if part)


def live_path(run_id: str) -> str:
    return f"{run_folder(run_id)}/live.json"


def write_live(files: Store, run_id: str, live: LiveRun) -> None:
    # JSON has no name for numbers that are not finite; the run says so itself when it ends
    validation = {name: _finite(value) for name, value in live.validation.items()}
    clean = replace(live, train_loss=_finite(live.train_loss), validation=validation)
    files.write_bytes(live_path(run_id), json.dumps(asdict(clean)).encode())


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def forget_live(files: Store, run_id: str) -> None:
    """A run that has ended stands nowhere."""
    if files.exists(live_path(run_id)):
        files.delete(live_path(run_id))


def read_live(files: Store, run_id: str) -> LiveRun | None:
    """Read where a run stands; None if it does not say it, or not at the moment."""
    path = live_path(run_id)
    with suppress(OSError, ValueError):
        return read_typed(LiveRun, files.read_bytes(path, JSON_BYTES), f"{files.uri}/{path}")
    return None
