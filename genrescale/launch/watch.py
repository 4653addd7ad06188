"""What a terminal shows while a sweep trains: steps done, runs done, and where those stand that train now."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from ray import tune

from genrescale.config import RunConfig
from genrescale.results.live import LiveRun, read_live
from genrescale.storage.store import Store
from genrescale.telemetry.progress import Progress

LOOK_S = 3.0


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
    """Feeds the progress display from Tune's results and, between them, from what the runs write of themselves."""

    def __init__(self, trials: Mapping[str, Watched], progress: Progress, files: Store) -> None:
        self._trials, self._progress, self._files = trials, progress, files
        self._steps: dict[str, int] = {}
        self._running: list[str] = []
        self._live: dict[str, LiveRun] = {}
        self._finished = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune saves its callbacks with the experiment; what a terminal shows is not part of it.
        return tune.Callback, ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._show(trials)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        with self._lock:
            self._moved(trial_name(trial), int(result.get("step") or 0))
        self._show(trials)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial)
        self._show(trials)
        if (trial.last_result or {}).get("error"):
            self._progress.note(f"{self._trials[trial_name(trial)].label} failed")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial)
        self._progress.note(f"{self._trials[trial_name(trial)].label} failed")

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
        for id in list(self._running):
            if (live := read_live(self._files, id)) is not None:
                with self._lock:
                    if id in self._running:
                        self._live[id] = live
                        self._moved(id, live.step)
        if self._live:
            self._note()

    def _moved(self, id: str, step: int) -> None:
        self._progress.advance(max(0, step - self._steps.get(id, 0)))
        self._steps[id] = max(step, self._steps.get(id, 0))

    def _end(self, trial: Any) -> None:
        """Count the run, and leave out the steps that it did not need, so that the time left stays true."""
        id = trial_name(trial)
        with self._lock:
            self._finished += 1
            self._running = [other for other in self._running if other != id]
            self._progress.drop(self._trials[id].run.optim.max_steps - self._steps.get(id, 0))

    def _show(self, trials: list[Any]) -> None:
        with self._lock:
            self._running = [trial_name(trial) for trial in trials if trial.status == "RUNNING"]
        self._note()

    def _note(self) -> None:
        with self._lock:
            now = [f"{self._trials[id].label} {self._words(id)}" for id in self._running]
            self._progress.note(f"{self._finished}/{len(self._trials)} runs done; now: {'; '.join(now) or 'starting'}")

    def _words(self, id: str) -> str:
        return self._live[id].words() if id in self._live else f"step {self._steps.get(id, 0)}, starting"
