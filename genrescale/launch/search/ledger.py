"""The ledger at work: it hears what trials report, decides with the rungs, and writes every change at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from genrescale.launch.search.rungs import Rungs
from genrescale.results import read_curve, read_result
from genrescale.results.search import (
    FAILED,
    FINISHED,
    OVER,
    RUNNING,
    SEARCH_PATH,
    STOPPED,
    WAITING,
    SearchTrial,
    lower_is_better,
    read_search,
    write_search,
)
from genrescale.storage.store import Store
from genrescale.training.schedules import DIVERGED


class Ledger:
    """The trials of a folder's searches by run id. Rungs decide who goes on (``compare``); without them everybody does.

    One process writes it, the one that holds the sweep's lease, and its methods are called by one thread at a time.
    """

    def __init__(self, files: Store) -> None:
        self._files = files
        self._rungs: dict[str, Rungs] = {}
        self._trials = {trial.run_id: trial for trial in read_search(files)}
        self._spent: dict[str, float] = {}  # seconds of a trial's attempts before this one
        self._attempt_s: dict[str, float] = {}  # and of this one, so far

    def __getitem__(self, run_id: str) -> SearchTrial:
        return self._trials[run_id]

    def __contains__(self, run_id: object) -> bool:
        return run_id in self._trials

    def __iter__(self) -> Iterator[SearchTrial]:
        return iter(self._trials.values())

    def of(self, family: str, size: int) -> list[SearchTrial]:
        """The trials of a family and size by number."""
        return sorted((t for t in self if t.place == (family, size)), key=lambda trial: trial.number)

    def add(self, *trials: SearchTrial) -> None:
        """Remember trials before they start, each with the next number; one that is known stays as it is."""
        new = [trial for trial in trials if trial.run_id not in self]
        for trial in new:
            self._trials[trial.run_id] = replace(trial, number=len(self.of(*trial.place)))
        if new:
            self.save()

    def forget_others(self, family: str, size: int, base: str, allowed: bool) -> None:
        """Forget the trials of a family and size that vary another run than ``base``; their result rows stay.

        Raises ValueError unless that is ``allowed``.
        """
        others = [trial for trial in self.of(family, size) if trial.base != base]
        if others and not allowed:
            raise ValueError(
                f"{self._files.uri}/{SEARCH_PATH} holds {len(others)} searched trial(s) of {family} at {size:,} songs "
                "that vary another recipe or other data, so they cannot be compared with new ones; add rerun=true to "
                "search anew, or take another out="
            )
        for trial in others:
            del self._trials[trial.run_id]

    def reopen(self) -> None:
        """Failed trials are tried again, as a sweep's failed runs are; those that diverged are not: they would."""
        for trial in list(self):
            if trial.status == FAILED and DIVERGED not in trial.reason:
                self._trials[trial.run_id] = replace(trial, status=WAITING, reason="")

    def save(self) -> None:
        write_search(self._files, list(self))

    def compare(self, run_id: str, rungs: Rungs) -> None:
        """From now on a trial is compared with the others of its family and size at these rungs."""
        self._rungs[run_id] = rungs

    def catch_up(self, run_id: str) -> None:
        """Take over what a trial did while nobody listened: the driver was killed, or another job trained the run."""
        if self[run_id].status in OVER:
            return
        curve, ended = read_curve(self._files, run_id), read_result(self._files, run_id) is not None
        for line in curve.to_pylist() if curve is not None else []:
            if (line["step"] or 0) > self[run_id].steps and not self.heard(run_id, line, may_stop=not ended):
                return
        if ended:
            self.finished(run_id)

    def started(self, run_id: str) -> None:
        self._spent.setdefault(run_id, self[run_id].seconds)
        if self[run_id].status not in OVER:
            self._change(run_id, status=RUNNING)

    def heard(
        self, run_id: str, metrics: Mapping[str, float | None], seconds: float = 0.0, may_stop: bool = True
    ) -> bool:
        """Take a validation of a trial over; returns whether the trial goes on.

        ``metrics`` are those of a learning curve's line. ``seconds`` is how long this attempt has taken. A trial that
        has ended anyway is not stopped, and others are compared with it.
        """
        trial = self[run_id]
        score, step = metrics.get(trial.metric), int(metrics.get("step") or 0)
        if trial.status == STOPPED:
            return False
        best = trial.score
        if score is not None and math.isfinite(score) and (best is None or trial.better(score, best)):
            best = score
        if seconds < self._attempt_s.get(run_id, 0.0):  # Tune started it again
            self._spent[run_id] = trial.seconds
        self._attempt_s[run_id] = seconds
        spent = max(trial.seconds, self._spent.get(run_id, 0.0) + seconds)
        rungs = self._rungs.get(run_id)
        rung = rungs.due(step, [int(done) for done in trial.rungs]) if rungs else None
        changes = {"score": best, "steps": max(step, trial.steps), "seconds": spent}
        if rungs is None or rung is None or best is None:
            self._change(run_id, **changes)
            return True
        reached = [t.rungs[str(rung)] for t in self if t.place == trial.place and str(rung) in t.rungs]
        goes_on = not may_stop or rungs.keeps(best, reached, lower_is_better(trial.metric))
        changes["rungs"] = {**trial.rungs, str(rung): best}
        if not goes_on:
            top = max(1, (len(reached) + 1) // rungs.reduction)
            changes |= {
                "status": STOPPED,
                "reason": f"not among the best {top} of {len(reached) + 1} that had reached step {rung} by then",
            }
        self._change(run_id, **changes)
        return goes_on

    def finished(self, run_id: str) -> None:
        """Take over the cost of a finished run from its result row."""
        row = read_result(self._files, run_id)
        assert row is not None, f"run {run_id} has no result row"
        if self[run_id].score is None:
            self._score_from_curve(run_id)
        seconds = max(self[run_id].seconds, self._spent.get(run_id, 0.0) + row.seconds_total)
        self._change(run_id, status=FINISHED, reason="", steps=row.steps, seconds=seconds)

    def _score_from_curve(self, run_id: str) -> None:
        """Of a run that another job trained to its end."""
        row, metric = read_result(self._files, run_id), self[run_id].metric
        score = best_of_curve(self._files, run_id, metric)
        if score is None and row is not None and metric == "val_loss":
            score = row.val_loss
        self._change(run_id, score=score)

    def failed(self, run_id: str, error: str) -> None:
        self._change(run_id, status=FAILED, reason=error)

    def paused(self) -> None:
        """At the end of a job: what still runs will be continued by the next one."""
        for trial in list(self):
            if trial.status == RUNNING:
                self._trials[trial.run_id] = replace(trial, status=WAITING)
        self.save()

    def _change(self, run_id: str, **changes: object) -> None:
        self._trials[run_id] = replace(self._trials[run_id], **changes)  # type: ignore[arg-type]
        self.save()


def best_of_curve(files: Store, run_id: str, metric: str) -> float | None:
    """The best value of a column of a run's learning curve; None if it has none."""
    curve = read_curve(files, run_id)
    if curve is None or metric not in curve.column_names:
        return None
    values = [value for value in curve[metric].to_pylist() if value is not None and math.isfinite(value)]
    if not values:
        return None
    return min(values) if lower_is_better(metric) else max(values)
