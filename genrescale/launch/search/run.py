"""A search from its plan to its best values: what is tried at which sizes, what is left to do, and what follows."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from genrescale.config import SiteConfig, science
from genrescale.config.search import SearchConfig
from genrescale.config.sweep import SweepConfig
from genrescale.data.manifest import Manifest
from genrescale.launch.search.algorithms import ALGORITHMS, Bracket, Listed, Suggester, turns
from genrescale.launch.search.ledger import Ledger, best_of_curve
from genrescale.launch.search.rungs import rungs_of
from genrescale.launch.search.space import Values, check_names, family_space, run_with
from genrescale.launch.search.study import Journal, Study, journal
from genrescale.launch.search.tuning import steering
from genrescale.launch.sweep import Trial, Tuned, plan_trial, refuse_trained, sweep_run, tune_trials
from genrescale.results import ResultRow, read_result, read_sound_results
from genrescale.results.live import forget_live
from genrescale.results.search import OVER, STOPPED, SearchTrial, best_trials
from genrescale.storage.lease import Claim, writing
from genrescale.storage.store import Store
from genrescale.telemetry.terminal import say
from genrescale.training.resolve import RunTicket

AXIS = "search"
_MOST_REFUSED = 100


@dataclass(frozen=True)
class SearchOutcome:
    """The trials of a search that this job's settings name, and the ids of those that are not over."""

    trials: list[SearchTrial]
    unfinished: list[str]

    @property
    def best(self) -> dict[tuple[str, int], SearchTrial]:
        return best_trials(self.trials)


@dataclass(frozen=True)
class Planned:
    """A bracket with the id of the run that its trials vary, and what plans them."""

    bracket: Bracket
    base: str
    site: SiteConfig
    manifest: Manifest
    normalisation_size: int
    search: SearchConfig

    def trial(self, values: Values) -> Trial:
        run = run_with(self.bracket.base, values)
        return plan_trial(run, self.site, self.manifest, self.normalisation_size, AXIS)

    def record(self, trial: Trial, values: Values) -> SearchTrial:
        bracket, steps = self.bracket, trial.run.optim.max_steps
        place = bracket.family, bracket.size, 0, self.base
        return SearchTrial(trial.run_id, *place, self.search.algorithm, dict(values), steps, bracket.metric)


def plan_search(sweep: SweepConfig, site: SiteConfig, manifest: Manifest) -> list[Planned]:
    """The brackets of a sweep's search: one for each family and size.

    Raises ValueError, before anything starts, for a name that is no field, a size above the corpus, an end of a range
    with which no run can be made, and rungs that do not exist.
    """
    search, named = sweep.search, sweep.search.distributions()
    sizes = sorted(search.sizes or [min(sweep.sizes)])
    manifest.select("train", max(sizes))
    bases = {family: sweep_run(sweep, family, sizes[0], search.seed) for family in sweep.families}
    check_names(bases, named)
    rungs = rungs_of(search, sweep.optim) if search.algorithm == "asha" else None
    metric = "val_loss" if sweep.optim.best_by == "gap" else sweep.optim.best_by
    planned = []
    for size in sizes:
        for family in sweep.families:
            base = sweep_run(sweep, family, size, search.seed)
            if not (space := family_space(base, named)).distributions:
                continue
            first = plan_trial(base, site, manifest, min(sweep.sizes), AXIS)
            bracket = Bracket(family, size, first.run, space, metric, rungs)
            planned.append(Planned(bracket, first.run_id, site, manifest, min(sweep.sizes), search))
            _check_ends(planned[-1])
    return planned


def _check_ends(planned: Planned) -> None:
    """A value that no run can have is found before the search starts, not in its middle."""
    for name, distribution in planned.bracket.space.distributions.items():
        for value in distribution.values:
            try:
                planned.trial({name: value})
            except ValueError as error:
                raise ValueError(f"search.space: {name}={value:g} of {planned.bracket.family}: {error}") from None


def listed_trials(planned: Sequence[Planned]) -> list[Trial]:
    """The trials that are known before a search starts; none of an algorithm that finds them on the way.

    Raises ValueError for values with which no run can be made.
    """
    trials: dict[str, Trial] = {}
    for place in planned:
        suggester = ALGORITHMS[place.search.algorithm](place.bracket, place.search)
        for values in suggester.values if isinstance(suggester, Listed) else []:
            try:
                trial = place.trial(values)
            except ValueError as error:
                named = ", ".join(f"{name}={value:g}" for name, value in values.items())
                raise ValueError(f"search.space: {named} of {place.bracket.family}: {error}") from None
            trials.setdefault(trial.run_id, trial)
    return list(trials.values())


def run_search(planned: Sequence[Planned], site: SiteConfig, rerun: bool = False) -> SearchOutcome:
    """Run what is left of a search on the connected Ray cluster; the ledger is written as it goes.

    Raises ValueError if the folder holds trials of another recipe, unless ``rerun`` forgets them, and BusyError if
    another job writes there.
    """
    with writing(Store(site.out), "scale_sweep") as lease, ExitStack() as stack:
        return _run_search(planned, site, rerun, lease.claim, stack)


def _run_search(
    planned: Sequence[Planned], site: SiteConfig, rerun: bool, claim: Claim, stack: ExitStack
) -> SearchOutcome:
    files = Store(site.out)
    ledger = Ledger(files)
    ledger.reopen()
    for place in planned:
        ledger.forget_others(place.bracket.family, place.bracket.size, place.base, rerun)
    suggesters = [ALGORITHMS[place.search.algorithm](place.bracket, place.search) for place in planned]
    queue = _Queue(planned, suggesters, ledger, files)
    if any(isinstance(suggester, Study) for suggester in suggesters):
        queue.begin_studies(stack.enter_context(journal(files)))
    queue.begin()
    refuse_trained(files, list(queue.named))
    if (first := queue.next()) is not None:
        waiting = [first]

        def next() -> RunTicket | None:
            return waiting.pop() if waiting else queue.next()

        steered = steering(ledger, files, next, queue.ended, tracked=bool(site.track))
        tune_trials(queue.trials, site, claim, steered, {}, AXIS, queue.reused())
        ledger.paused()
        for trial in ledger:
            if trial.status == STOPPED:  # its worker may have told of it once more while it was being stopped
                forget_live(files, trial.run_id)
    mine = [trial for trial in ledger if trial.run_id in queue.named]
    unfinished = [trial.run_id for trial in mine if trial.status not in OVER]
    if unfinished:
        say(f"stopped with {len(unfinished)} trials unfinished; the same command continues", sys.stderr)
    return SearchOutcome(mine, unfinished)


class _Queue:
    """What is left to do of a search: trials that were begun first, then what the suggesters give in turn."""

    def __init__(
        self, planned: Sequence[Planned], suggesters: Sequence[Suggester], ledger: Ledger, files: Store
    ) -> None:
        self._planned, self._suggesters, self._ledger, self._files = planned, suggesters, ledger, files
        self.trials: dict[str, Trial] = {}  # to run, by run id; it grows
        self.named: dict[str, Planned] = {}  # of this search, over or not
        self._waiting: list[RunTicket] = []
        self._turns = turns(suggesters)

    def begin_studies(self, storage: Journal) -> None:
        """Tell Optuna what is known: the ledger's trials, and finished runs that vary only the searched fields."""
        rows = read_sound_results(self._files)[0]
        for place, study in zip(self._planned, self._suggesters, strict=True):
            if not isinstance(study, Study):
                continue
            bracket = place.bracket
            known = self._ledger.of(bracket.family, bracket.size)
            points = list(_points(self._files, rows, place, {trial.run_id for trial in known}))
            study.begin(storage, known, points)
            for trial in known:  # which the study does not suggest again
                if trial.algorithm == place.search.algorithm and bracket.space.holds(trial.values):
                    self._plan(place, trial.values)

    def begin(self) -> None:
        """Plan everything that is known before the search starts."""
        for place, suggester in zip(self._planned, self._suggesters, strict=True):
            if isinstance(suggester, Listed):
                while (values := suggester.next()) is not None:
                    self._plan(place, values)

    def _plan(self, place: Planned, values: Values) -> SearchTrial:
        trial = place.trial(values)
        self.named[trial.run_id] = place
        self._ledger.add(place.record(trial, values))
        if place.bracket.rungs is not None:
            self._ledger.compare(trial.run_id, place.bracket.rungs)
        self._ledger.catch_up(trial.run_id)
        if self._ledger[trial.run_id].status not in OVER and trial.run_id not in self.trials:
            self.trials[trial.run_id] = trial
            self._waiting.append(trial.ticket)
        return self._ledger[trial.run_id]

    def reused(self) -> dict[str, ResultRow]:
        """The rows of the trials of this search that had finished before."""
        over = self.named.keys() - self.trials.keys()
        return {id: row for id in over if (row := read_result(self._files, id)) is not None}

    def next(self) -> RunTicket | None:
        refused = 0
        while not self._waiting:
            if (turn := next(self._turns, None)) is None:
                return None
            place, values = turn
            try:
                trial = self._plan(self._planned[place], values)
            except ValueError as error:
                if (refused := refused + 1) == _MOST_REFUSED:
                    raise ValueError(f"search.space: {refused} suggestions in a row cannot be run: {error}") from None
                self._suggesters[place].refused()
                continue
            self._suggesters[place].took(trial)
            if trial.status in OVER:  # a run that was trained before
                self._suggesters[place].told(trial)
        ticket = self._waiting.pop(0)
        self._ledger.started(ticket.run_id)
        return ticket

    def ended(self, trial: SearchTrial) -> None:
        self._suggesters[self._planned.index(self.named[trial.run_id])].told(trial)


def _points(
    files: Store, rows: Mapping[str, ResultRow], place: Planned, known: set[str]
) -> Iterator[tuple[str, Values, float]]:
    """Finished runs of any seed that differ from the bracket's base in the searched fields alone, and their scores."""
    bracket = place.bracket
    wanted = _rest(science(bracket.base), bracket.space.distributions)
    for id, row in rows.items():
        if id in known or _rest(row.config, bracket.space.distributions) != wanted:
            continue
        values = {name: _field(row.config, name) for name in bracket.space.distributions}
        score = best_of_curve(files, id, bracket.metric)
        if score is None and bracket.metric == "val_loss":
            score = row.val_loss
        if bracket.space.holds(values) and score is not None and math.isfinite(score):
            yield id, values, score


def _field(config: Mapping[str, object], name: str) -> float:
    found: object = config
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) else math.nan


def _rest(config: Mapping[str, object], names: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """A config without its seed and the named fields, flat."""
    rest: dict[str, object] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rest |= _rest(value, names, f"{name}.")
        elif name not in names and name != "seed":
            rest[name] = value
    return rest


def tuned(sweep: SweepConfig, best: Mapping[tuple[str, int], SearchTrial]) -> Tuned:
    """The best values for every family and size of the grid: of the nearest searched size that is not above it.

    Below all of them, those of the smallest. Raises ValueError for a family of which no trial finished.
    """
    found: dict[tuple[str, int], Values] = {}
    for family in sweep.families:
        searched = sorted(size for name, size in best if name == family)
        base = sweep_run(sweep, family, min(sweep.sizes), sweep.search.seed)
        if not searched and not family_space(base, sweep.search.distributions()).distributions:
            continue  # it has none of the searched fields
        if not searched:
            raise ValueError(
                f"search.then=scale: no searched trial of {family} finished, so there are no values to scale with; the "
                "report says why each ended"
            )
        for size in sweep.sizes:
            nearest = max((other for other in searched if other <= size), default=searched[0])
            found[family, size] = best[family, nearest].values
    return found
