"""Ray Tune's part of a search: it starts what is suggested, and stops what the ledger stops.

Tune's own searchers and schedulers are not used. A ``Tuner`` that is restored gets the scheduler that it is given,
empty: the scores at the rungs are gone. What a search knows is in the ledger, so both objects here are made anew by
every job.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from genrescale.launch.search.ledger import Ledger
from genrescale.launch.train import read_error
from genrescale.results import read_result
from genrescale.results.live import forget_live
from genrescale.results.search import STOPPED, SearchTrial
from genrescale.storage.store import Store
from genrescale.training.events import settings_of
from genrescale.training.resolve import RunTicket

_OF_A_VALIDATION = "train_loss"  # in what a run reports after a validation, and not in its last report


class Suggestions(Searcher):
    """Gives Tune the next trial of a search: its run id and ticket; ``next`` returns None when there is no other.

    With ``tracked``, trackers get the settings of its run.
    """

    def __init__(self, next: Callable[[], RunTicket | None], tracked: bool) -> None:
        super().__init__()
        self._next, self._tracked = next, tracked

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune saves its searcher with the experiment; this one lives in the ledger.
        return Searcher, ()

    def suggest(self, trial_id: str) -> Any:
        """A trial's config, or Tune's word for that there is none, a text."""
        ticket = self._next()
        if ticket is None:
            return Searcher.FINISHED
        settings = {"settings": settings_of(ticket.run)} if self._tracked else {}
        return {"run_id": ticket.run_id, "ticket": ticket, **settings}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The ledger hears it from ``Steward``."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: see ``__reduce__``."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see ``__reduce__``."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see ``__reduce__``."""


class Steward(FIFOScheduler):
    """Tells the ledger what Tune's trials report and how they end, and stops those that it stops.

    ``ended`` hears of each trial that is over.
    """

    def __init__(self, ledger: Ledger, files: Store, ended: Callable[[SearchTrial], None]) -> None:
        super().__init__()
        self._ledger, self._files, self._ended = ledger, files, ended

    def __reduce__(self) -> tuple[Any, ...]:
        return FIFOScheduler, ()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        id = trial.config["run_id"]
        if _OF_A_VALIDATION not in result:
            return TrialScheduler.CONTINUE
        goes_on = self._ledger.heard(id, result, float(result.get("time_total_s") or 0.0))
        return TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._end(trial.config["run_id"], str(result.get("error") or ""))

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        if trial.should_recover():  # Tune starts it again, and asks here before it does
            return
        self._end(trial.config["run_id"], str(trial.get_error() or "its process died"))

    def _end(self, id: str, error: str) -> None:
        if self._ledger[id].status == STOPPED:
            forget_live(self._files, id)
        elif read_result(self._files, id) is not None:
            self._ledger.finished(id)
        else:
            self._ledger.failed(id, read_error(self._files, id) or error or "it ended without a result")
        self._ended(self._ledger[id])


def steering(
    ledger: Ledger, files: Store, next: Callable[[], RunTicket | None], ended: Callable[..., None], tracked: bool
) -> Any:
    """What ``tune.TuneConfig`` takes to run a search."""
    # any number: the searcher says when it has no further trial
    return tune.TuneConfig(
        search_alg=Suggestions(next, tracked), scheduler=Steward(ledger, files, ended), num_samples=-1
    )
