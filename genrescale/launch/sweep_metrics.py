"""What a sweep tells of its runs: how many are in which state, and the best scores of those that have finished."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Protocol

from ray import tune

from genrescale.config import RunConfig
from genrescale.config.metrics import METRICS, ROW_METRICS
from genrescale.launch.watch import trial_name
from genrescale.results import PlannedTrial, ResultRow, read_result
from genrescale.storage.store import Store
from genrescale.telemetry.metric_table import TRIAL_STATUSES, run_labels
from genrescale.telemetry.recorder import Recorder


class Planned(Protocol):
    """What is told of a trial of the sweep."""

    @property
    def run(self) -> RunConfig: ...
    @property
    def run_id(self) -> str: ...
    @property
    def planned(self) -> tuple[PlannedTrial, ...]: ...


class SweepMetrics(tune.Callback):
    """Follows Tune's trials. ``trials`` are those to run, to which a search adds; ``reused`` are rows from before.

    Scores of a search, whose trials are no points of a curve over sizes, are not told (``scored``).
    """

    def __init__(
        self,
        said: Recorder,
        trials: Mapping[str, Planned],
        reused: Mapping[str, ResultRow],
        files: Store,
        scored: bool = True,
    ) -> None:
        self._scored = scored
        self._said, self._files, self._trials = said, files, trials
        self._status = dict.fromkeys(reused, "reused")  # of all but those that wait
        self._best: dict[tuple[str, str, str], float] = {}
        self._lock = threading.Lock()
        for row in reused.values():
            self._score(row)
        self._tell()

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune saves its callbacks with the experiment; what is told is not part of it.
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._set(trial_name(trial), "running")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial_name(trial), "failed" if (trial.last_result or {}).get("error") else "stopped")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial_name(trial), "failed")

    def _end(self, id: str, without_row: str) -> None:
        """A run with a row has finished, whatever Tune says of its function."""
        row = read_result(self._files, id) if self._said else None
        if row is not None:
            self._score(row)
        self._set(id, "finished" if row is not None else without_row)

    def _set(self, id: str, status: str) -> None:
        with self._lock:
            self._status[id] = status
        run, axes = self._trials[id].run, {planned.axis for planned in self._trials[id].planned}
        labels = run_labels(id, run.model.name, run.data.size)
        if status == "running":
            self._said.begin(labels["trial"])
            info = {"seed": str(run.seed), "lr": f"{run.optim.lr:g}", "axis": "/".join(sorted(axes))}
            self._said.set("genrescale_trial_info", 1, **labels, **info)
        else:
            self._said.end(labels["trial"])
        self._tell()

    def _score(self, row: ResultRow) -> None:
        for name in ROW_METRICS if self._scored else ():
            value: float | None = getattr(row, name)
            place = (row.model, str(row.size), name)
            if value is not None and METRICS[name].gain(value - self._best.get(place, value)) >= 0:
                self._best[place] = value
                self._said.set("genrescale_study_best_score", value, family=place[0], size=place[1], metric=name)

    def _tell(self) -> None:
        with self._lock:
            counts = [*self._status.values()]
            counts += ["waiting"] * len(self._trials.keys() - self._status.keys())
        for status in TRIAL_STATUSES:
            self._said.set("genrescale_study_trials", counts.count(status), status=status)
