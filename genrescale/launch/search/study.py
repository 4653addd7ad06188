"""Optuna's part of a search: a study of one family and size, and the journal that Optuna's own dashboard opens.

The study is made anew from the ledger whenever a job starts, and the journal is written from it: nothing is read from
there, so it may be deleted. It is one file for all studies of a sweep, written whole after each change, because a
bucket has no files that grow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from genrescale.config.search import Distribution, SearchConfig
from genrescale.launch.search.space import Space
from genrescale.results.search import FAILED, FINISHED, OVER, SearchTrial, lower_is_better
from genrescale.storage.lease import publish
from genrescale.storage.store import Store

JOURNAL_PATH = "search/optuna.log"
ALGORITHM = "optuna"
_RUN = "run_id"  # the user attribute of Optuna's trials that tells the run


class Journal:
    """The storage of all studies of a sweep: a file of this machine, of which ``files`` gets a copy."""

    def __init__(self, files: Store, folder: Path) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._files, self._path = files, folder / "optuna.log"
        self.storage = optuna.storages.JournalStorage(JournalFileBackend(str(self._path)))

    def publish(self) -> None:
        publish(self._files, JOURNAL_PATH, self._path.read_bytes())


@contextmanager
def journal(files: Store) -> Iterator[Journal]:
    with TemporaryDirectory(prefix="genrescale-optuna-") as folder:
        yield Journal(files, Path(folder))


class Study:
    """Suggestions of TPE, each from the scores of the trials before it; ``search.trials`` in all.

    ``begin`` comes before the first suggestion.
    """

    def __init__(self, family: str, size: int, space: Space, metric: str, search: SearchConfig) -> None:
        self.name = f"{family}, {size:,} songs"
        self._space, self._search, self._metric = space, search, metric
        self._journal: Journal | None = None
        self._study: Any = None
        self._asked: Any = None
        self._numbers: dict[str, int] = {}  # of Optuna, by run id
        self._taken = 0

    def begin(
        self, journal: Journal, known: Sequence[SearchTrial], points: Sequence[tuple[str, Mapping[str, float], float]]
    ) -> None:
        """Tell the study of the ledger's trials, and of runs of other jobs as its first points.

        A point is a run id, its values and its score.
        """
        import optuna

        self._journal = journal
        # those of an earlier search over other fields or ranges are none of its own
        known = [trial for trial in known if self._space.holds(trial.values)]
        self._taken = sum(trial.algorithm == ALGORITHM for trial in known)
        direction = "minimize" if lower_is_better(self._metric) else "maximize"
        self._study = optuna.create_study(
            study_name=self.name, storage=journal.storage, direction=direction, load_if_exists=True
        )
        self._study.set_user_attr("metric", self._metric)
        for run_id, values, score in points:
            self._add(run_id, values, optuna.trial.TrialState.COMPLETE, score)
        for trial in known:
            if trial.status == FINISHED and trial.score is not None:
                self._add(trial.run_id, trial.values, optuna.trial.TrialState.COMPLETE, trial.score)
            elif trial.status in OVER:
                self._add(trial.run_id, trial.values, optuna.trial.TrialState.FAIL, None)
            elif trial.algorithm == ALGORITHM:  # those that this job will continue
                self._add(trial.run_id, trial.values, optuna.trial.TrialState.RUNNING, None)
        journal.publish()

    def _add(self, run_id: str, values: Mapping[str, float], state: Any, score: float | None) -> None:
        import optuna

        if not self._space.holds(params := dict(values)):
            return  # of an earlier search over other fields or ranges
        self._numbers[run_id], distributions = len(self._study.get_trials(deepcopy=False)), self._distributions()
        self._study.add_trial(
            optuna.trial.create_trial(
                state=state, value=score, params=params, distributions=distributions, user_attrs={_RUN: run_id}
            )
        )

    def _distributions(self) -> dict[str, Any]:
        return {name: _as_optuna(distribution) for name, distribution in self._space.distributions.items()}

    def next(self) -> dict[str, float] | None:
        import optuna

        if self._taken >= self._search.trials:
            return None
        number = len(self._study.get_trials(deepcopy=False))
        # a search that was killed goes on as it would have: the seed of a suggestion is not that of the process
        digest = hashlib.sha256(f"{self._search.seed} {self.name} {number}".encode()).digest()
        self._study.sampler = optuna.samplers.TPESampler(
            seed=int.from_bytes(digest[:4], "big"), n_startup_trials=min(10, max(2, self._search.trials // 3))
        )
        self._asked = self._study.ask(self._distributions())
        self._taken += 1
        return dict(self._asked.params)

    def took(self, trial: SearchTrial) -> None:
        import optuna

        assert self._journal is not None
        self._asked.set_user_attr(_RUN, trial.run_id)
        if trial.run_id in self._numbers:  # the same values again, of a choice: they are not trained twice
            scored = trial.status == FINISHED and trial.score is not None
            state = optuna.trial.TrialState.COMPLETE if scored else optuna.trial.TrialState.FAIL
            self._study.tell(self._asked.number, trial.score if scored else None, state=state)
        else:
            self._numbers[trial.run_id] = self._asked.number
        self._journal.publish()

    def refused(self) -> None:
        import optuna

        self._study.tell(self._asked.number, state=optuna.trial.TrialState.FAIL)
        self._taken -= 1

    def told(self, trial: SearchTrial) -> None:
        import optuna

        if (number := self._numbers.get(trial.run_id)) is None or self._journal is None:
            return
        failed = trial.status == FAILED or trial.score is None
        state = optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE
        self._study.tell(number, None if failed else trial.score, state=state, skip_if_finished=True)
        self._journal.publish()


def _as_optuna(distribution: Distribution) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if distribution.kind == "choice":
        return CategoricalDistribution(distribution.values)
    low, high = distribution.values
    if distribution.kind == "int":
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=distribution.kind == "log")
