"""What a sweep tells of its runs: how many are in which state, and the best scores of those that have finished."""

from __future__ import annotations

import threading
from collections.abc import Iterable
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
    """Follows Tune's trials. ``trials`` are all of the sweep, of which some may have finished before (in ``files``)."""

    def __init__(self, said: Recorder, trials: Iterable[Planned], files: Store) -> None:
        self._said, self._files = said, files
        self._trials = {trial.run_id: trial for trial in trials}
        self._status = dict.fromkeys(self._trials, "waiting")
        self._best: dict[tuple[str, str, str], float] = {}
        self._lock = threading.Lock()
        for id in self._trials if said else ():
            if (row := read_result(files, id)) is not None:
                self._status[id] = "reused"
                self._score(row)
        self._tell()

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune saves its callbacks with the experiment; what is told is not part of it.
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._set(trial_name(trial), "running")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial_name(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial_name(trial))

    def _end(self, id: str) -> None:
        """A run without a row has failed, whatever Tune says of its function."""
        row = read_result(self._files, id) if self._said else None
        if row is not None:
            self._score(row)
        self._set(id, "finished" if row is not None else "failed")

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
        for name in ROW_METRICS:
            value: float | None = getattr(row, name)
            place = (row.model, str(row.size), name)
            if value is not None and METRICS[name].gain(value - self._best.get(place, value)) >= 0:
                self._best[place] = value
                self._said.set("genrescale_study_best_score", value, family=place[0], size=place[1], metric=name)

    def _tell(self) -> None:
        with self._lock:
            counts = [*self._status.values()]
        for status in TRIAL_STATUSES:
            self._said.set("genrescale_study_trials", counts.count(status), status=status)
