"""What a terminal shows while a sweep trains: steps done, runs done, and where those stand that train now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ray import tune

from genrescale.config import RunConfig
from genrescale.telemetry.progress import Progress


class Watched(Protocol):
    """What the display needs of a trial of the sweep."""

    @property
    def label(self) -> str: ...
    @property
    def run(self) -> RunConfig: ...


def trial_name(trial: Any) -> str:
    """The run id of one of Tune's trials, which is also its name and its folder's."""
    return trial.config["run_id"]


class Watch(tune.Callback):
    """Feeds the progress display from Tune's results."""

    def __init__(self, trials: Mapping[str, Watched], progress: Progress) -> None:
        self._trials, self._progress = trials, progress
        self._steps: dict[str, int] = {}
        self._finished = 0

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune saves its callbacks with the experiment; what a terminal shows is not part of it.
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._show(trials)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        id, step = trial_name(trial), int(result.get("step") or 0)
        self._progress.advance(max(0, step - self._steps.get(id, 0)))
        self._steps[id] = max(step, self._steps.get(id, 0))
        self._show(trials)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial)
        self._show(trials)
        if (trial.last_result or {}).get("error"):
            self._progress.note(f"{self._trials[trial_name(trial)].label} failed")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial)
        self._progress.note(f"{self._trials[trial_name(trial)].label} failed")

    def _end(self, trial: Any) -> None:
        """Count the run, and the steps that it did not need, so that the time left stays true."""
        id = trial_name(trial)
        self._finished += 1
        self._progress.advance(self._trials[id].run.optim.max_steps - self._steps.get(id, 0))

    def _show(self, trials: list[Any]) -> None:
        running = [trial_name(trial) for trial in trials if trial.status == "RUNNING"]
        labels = [f"{self._trials[id].label} step {self._steps.get(id, 0)}" for id in running]
        self._progress.note(f"{self._finished}/{len(self._trials)} runs done; now: {'; '.join(labels) or 'starting'}")
