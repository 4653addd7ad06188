"""A sweep with its search: the search first, then the grid, with the recipe's values or those that were found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from genrescale.config import SiteConfig
from genrescale.config.sweep import SweepConfig
from genrescale.data.manifest import Manifest
from genrescale.launch.baselines import train_baselines
from genrescale.launch.capacity import Node
from genrescale.launch.listing import foretell, format_trials
from genrescale.launch.search.run import Planned, SearchOutcome, listed_trials, plan_search, run_search, tuned
from genrescale.launch.sweep import (
    SweepOutcome,
    Trial,
    format_outcome,
    plan_checked,
    planned_trials,
    run_sweep,
    tell_doubts,
)
from genrescale.results.changes import show_outdated
from genrescale.results.search import OVER, SearchTrial, best_trials, read_search
from genrescale.storage.lease import claim
from genrescale.storage.store import Store

UNTRAINED = "search.then=scale trains the sizes of the sweep with the best values"


@dataclass(frozen=True)
class Ended:
    """What a sweep and its search came to. ``grid`` is None where none was trained, ``last`` where none is to be."""

    search: SearchOutcome | None
    grid: SweepOutcome | None
    last: bool = False

    @property
    def unfinished(self) -> list[str]:
        return (self.search.unfinished if self.search else []) + (self.grid.unfinished if self.grid else [])

    @property
    def failed(self) -> bool:
        """Whether a run of the grid failed, or a search has no best trial; that trials of it fail is its business."""
        return bool(self.grid and self.grid.failures) or bool(self.search and not self.search.best)

    def __str__(self) -> str:
        parts = [format_search(self.search)] if self.search else []
        parts += [format_outcome(self.grid)] if self.grid else []
        return "\n".join([*parts, *([f"no grid was trained: {UNTRAINED}"] if self.last else [])])


@dataclass(frozen=True)
class SweepPlan:
    """The brackets of the search and the runs of the grid, the latter as far as they are known before the search."""

    sweep: SweepConfig
    site: SiteConfig
    manifest: Manifest
    brackets: list[Planned] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)

    def listed(self, nodes: Sequence[Node]) -> str:
        """What a dry run tells: the trials of the search that are known, and the runs of the grid."""
        show_outdated(Store(self.site.out), planned_trials(self.trials), allowed=True)
        parts = []
        if self.brackets:
            known = listed_trials(self.brackets)
            parts = [_about(self.brackets, len(known)), *([format_trials(known, self.site, nodes)] if known else [])]
        if self.trials:
            parts.append(format_trials(self.trials, self.site, nodes))
        return "\n".join(parts)

    def refuse_outdated(self, rerun: bool) -> None:
        """Tell which finished runs a change makes worthless. Raises ValueError unless ``rerun`` allows it."""
        if not self.brackets:
            show_outdated(Store(self.site.out), planned_trials(self.trials), allowed=rerun)

    def run(self, rerun: bool) -> Ended:
        """Search, and train the grid, on the connected Ray cluster; what has finished before is not done again."""
        self._train_baselines()
        if known := listed_trials(self.brackets) if self.brackets else self.trials:
            foretell(known, self.site)
        if not self.brackets:
            return Ended(None, run_sweep(self.trials, self.site))
        searched = run_search(self.brackets, self.site, rerun)
        if (last := self.sweep.search.then == "stop") or searched.unfinished:
            return Ended(searched, None, last)
        trials = plan_checked(self.sweep, self.site, self.manifest, tuned(self.sweep, searched.best))
        show_outdated(Store(self.site.out), planned_trials(trials), allowed=rerun)
        return Ended(searched, run_sweep(trials, self.site))

    def _train_baselines(self) -> None:
        """What they score is told by the report; one that fails ends nothing."""
        sweep, files = self.sweep, Store(self.site.out)
        right = claim(files)
        train_baselines(sweep.baselines, sweep.sizes, sweep.data, sweep.seeds[0], self.manifest, files, right)


def plan_sweep(sweep: SweepConfig, site: SiteConfig, manifest: Manifest) -> SweepPlan:
    """Plan and check the search and the grid of a sweep, with what is doubtful about them said on stderr.

    Raises ValueError, before anything starts, for what cannot work.
    """
    if not sweep.search.space:
        return SweepPlan(sweep, site, manifest, trials=plan_checked(sweep, site, manifest))
    brackets = plan_search(sweep, site, manifest)
    listed_trials(brackets)  # refuses values that no run can have
    if sweep.search.then == "stop":
        # a searcher such as Optuna names its trials later, so what they have in common is looked at
        tell_doubts([place.bracket.base for place in brackets], manifest)
        return SweepPlan(sweep, site, manifest, brackets)
    bases = {place.base for place in brackets}
    best = best_trials([trial for trial in read_search(Store(site.out)) if trial.base in bases])
    found = tuned(sweep, best) if {trial.family for trial in best.values()} >= set(sweep.families) else None
    return SweepPlan(sweep, site, manifest, brackets, plan_checked(sweep, site, manifest, found))


def _about(brackets: Sequence[Planned], known: int) -> str:
    """A search in a sentence, before it starts."""
    search, optim = brackets[0].search, brackets[0].bracket.base.optim
    places = "; ".join(f"{place.bracket.family} at {place.bracket.size:,} songs" for place in brackets)
    space = ", ".join(f"{name}={distribution}" for name, distribution in search.distributions().items())
    count = known or search.trials * len(brackets)
    lines = [f"search by {search.algorithm} of {space}: {count} trials of at most {optim.max_steps:,} steps ({places})"]
    if rungs := brackets[0].bracket.rungs:
        steps = ", ".join(f"{step:,}" for step in rungs.steps)
        lines.append(f"the best 1/{rungs.reduction} go on at steps {steps}")
    if search.then == "scale":
        lines.append(
            "then the grid, with the best values of each family; until they are found, the recipe's are listed"
        )
    else:
        lines.append(f"then nothing: {UNTRAINED}")
    return "\n".join(lines)


def format_search(outcome: SearchOutcome) -> str:
    """How the trials of a search ended, what they cost, and the best values of each family and size."""
    trials = outcome.trials
    counts = {status: sum(trial.status == status for trial in trials) for status in OVER}
    words = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "none over"
    steps, most = sum(trial.steps for trial in trials), sum(trial.max_steps for trial in trials)
    lines = [f"search: {len(trials)} trials, {words}; {steps:,} steps of at most {most:,}"]
    return "\n".join([*lines, *map(_best_line, outcome.best.values())])


def _best_line(trial: SearchTrial) -> str:
    values = ", ".join(f"{name} {value:g}" for name, value in trial.values.items())
    return f"best of {trial.family} at {trial.size:,} songs: {values} ({trial.metric} {trial.score:.4f})"
