"""What a person sees while a sweep trains: steps done, runs done, where those stand that train, and what happened."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from ray import tune
from rich.console import RenderableType

from genrescale.config import RunConfig
from genrescale.config.metrics import METRICS, Metric
from genrescale.launch.live_view import RunView, sweep_picture
from genrescale.results import ResultRow, read_result
from genrescale.results.live import read_live
from genrescale.results.run_log import HEAD, log_line
from genrescale.storage.store import Store
from genrescale.telemetry.progress import Progress

LOOK_S = 3.0
_TOLD_AT_ONCE = 2  # runs in a line of a log
_TOLD = ("accuracy", "pr_auc", "rmse")  # the score that a run is told by: the first that it has


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
    """Feeds the progress display from Tune's results and, between them, from what the runs write of themselves.

    ``trials`` may grow: a search finds its trials on the way.
    """

    def __init__(self, trials: Mapping[str, Watched], progress: Progress, files: Store) -> None:
        self._trials, self._progress, self._files = trials, progress, files
        self._planned = set(trials)  # whose steps are in the total
        self._runs: dict[str, RunView] = {}  # that have begun, in the order in which they began or ended
        self._best: dict[tuple[str, int], tuple[Metric, float]] = {}
        self._headed = False  # whether the columns of validations were named
        self._lock = threading.Lock()
        progress.below(self._picture)

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune saves its callbacks with the experiment; what a terminal shows is not part of it.
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        with self._lock:
            self._begin(trial_name(trial))
        self._note()

    def _begin(self, id: str) -> RunView:
        """The picture of a run. A run that Tune starts again, because its process died, goes on with its own."""
        trial = self._trials[id]
        if id not in self._planned:
            self._planned.add(id)
            self._progress.extend(trial.run.optim.max_steps)
        run = self._runs.pop(id, None) or RunView(id, trial.label, trial.run.optim.max_steps)
        self._runs[id] = run
        return run

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        id = trial_name(trial)
        with self._lock:
            self._moved(id, int(result.get("step") or 0))
        if len(self._trials) == 1 and "train_loss" in result:  # a validation of the only run
            if not self._headed:
                self._progress.happened(HEAD)
                self._headed = True
            self._progress.happened(log_line(result))
        self._note()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        id, error = trial_name(trial), (trial.last_result or {}).get("error")
        if (row := read_result(self._files, id)) is not None:
            self._end(id, "finished", self._scored(row))
        else:
            self._end(id, "failed" if error else "stopped", str(error or f"at step {self._runs[id].step:,}"))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial_name(trial), "failed", "its process died")

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look at the files of the runs that train, every LOOK_S seconds during the block."""
        ended = threading.Event()

        def look_on() -> None:
            while not ended.wait(LOOK_S):
                self.look()

        thread = threading.Thread(target=look_on, name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def look(self) -> None:
        """Read where the runs stand that train now."""
        for id in [run.id for run in self._running()]:
            if (live := read_live(self._files, id)) is not None:
                with self._lock:
                    if self._runs[id].state == "running":
                        self._runs[id].saw(live)
                        self._moved(id, live.step)
        self._note()

    def _running(self) -> list[RunView]:
        with self._lock:
            return [run for run in self._runs.values() if run.state == "running"]

    def _moved(self, id: str, step: int) -> None:
        self._progress.advance(self._runs[id].moved(time.monotonic(), step))

    def _scored(self, row: ResultRow) -> str:
        """Note a finished run's score; returns it as text."""
        scores = {name: value for name in _TOLD if (value := getattr(row, name)) is not None}
        if not scores:
            return f"validation loss {row.val_loss:.4f}"
        name, value = next(iter(scores.items()))
        metric, place = METRICS[name], (row.model, row.size)
        with self._lock:
            if place not in self._best or metric.gain(value - self._best[place][1]) > 0:
                self._best[place] = metric, value
        return f"{metric.label} {value:.4f}"

    def _end(self, id: str, state: str, how: str) -> None:
        """Note a run's end, and leave out the steps that it did not need, so that the time left stays true."""
        with self._lock:
            run = self._begin(id)  # its process may have died before it was started
            run.end_as(state, how)
            self._progress.drop(run.max_steps - run.step)
            done = sum(other.state != "running" for other in self._runs.values())
            event = f"{run.label} {state}: {how} ({done}/{len(self._trials)} runs done)"
        self._progress.happened(event)
        self._note()

    def _note(self) -> None:
        with self._lock:
            runs = list(self._runs.values())
        now = [f"{run.label} {_words(run)}" for run in runs if run.state == "running"]
        done = len(runs) - len(now)
        told = [*now[:_TOLD_AT_ONCE], *([f"{more} more"] if (more := len(now) - _TOLD_AT_ONCE) > 0 else [])]
        rest = f"; now: {'; '.join(told) or 'starting'}" if done < len(self._trials) else ""
        self._progress.note(f"{done}/{len(self._trials)} runs done{rest}")

    def _picture(self, width: int) -> RenderableType:
        with self._lock:
            runs, waiting = list(self._runs.values()), len(self._trials.keys() - self._runs.keys())
            best: dict[str, dict[int, str]] = {}
            for (family, size), (metric, value) in self._best.items():
                best.setdefault(family, {})[size] = f"{metric.label} {value:.4f}"
            return sweep_picture(runs, waiting, best, time.monotonic(), width)


def _words(run: RunView) -> str:
    return run.live.words() if run.live else f"step {run.step}, starting"
