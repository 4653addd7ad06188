"""Make trials of a study: each run resolved on its corpus, chains in order; what a table lacks is a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from genrescale.config import InitConfig, SiteConfig
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.launch.sweep import Trial, plan_trial, planned_trials
from genrescale.report.trials import STUDY
from genrescale.results import PlannedTrial, is_finished
from genrescale.storage.store import Store
from genrescale.studies.study import CorpusNeed, Study, StudyRun, StudyTable


@dataclass(frozen=True, eq=False)
class StudyPlan:
    """A study on its corpora. ``trials`` are by run; those of tables whose corpus is not given are not in it.

    ``manifests`` are by the key of a corpus; a corpus that is not given has none.
    """

    study: Study
    site: SiteConfig
    trials: dict[StudyRun, Trial]
    manifests: Mapping[str, Manifest]

    @property
    def missing(self) -> list[CorpusNeed]:
        """The corpora that are not given."""
        return [corpus for corpus in self.study.corpora if corpus.key not in self.manifests]

    @property
    def lacking(self) -> dict[str, str]:
        """What the tables need whose corpus is not given, by table."""
        tables = [table for table in self.study.tables if table.corpus not in self.manifests]
        return {table.key: lacking_text(table, self.study.corpus(table.corpus)) for table in tables}

    def tables(self, only: Sequence[str] = ()) -> list[StudyTable]:
        """The tables of these keys, or all whose corpus is given.

        Raises ValueError for a key that is no table, and for a table that lacks its corpus, with where to get it.
        """
        chosen = self.study.chosen(only)
        found = [table for table in chosen if table.key not in self.lacking]
        if len(found) < len(chosen) and (only or not found):
            raise ValueError(next(self.lacking[table.key] for table in chosen if table.key in self.lacking))
        return found

    def of_tables(self, tables: Sequence[StudyTable]) -> list[Trial]:
        """The trials of some tables, each once, parents before the runs that start from them."""
        runs = dict.fromkeys(run for table in tables for run in table.runs)
        return [self.trials[run] for run in sorted(runs, key=lambda run: run.depth)]

    def waves(self, tables: Sequence[StudyTable]) -> list[list[StudyRun]]:
        """The runs of some tables in waves: every run is in a later wave than the one that it starts from."""
        runs = dict.fromkeys(run for table in tables for run in table.runs)
        depths = sorted({run.depth for run in runs})
        return [[run for run in runs if run.depth == depth] for depth in depths]

    def planned(self) -> list[PlannedTrial]:
        """Every trial that is planned, at its place: the scaling table is the grid of the sweep's report."""
        return planned_trials(list(self.trials.values()))


def lacking_text(table: StudyTable, need: CorpusNeed) -> str:
    """What a table needs that was not given, where it is from, and how it is given."""
    wanted = f"{table.key} needs corpora.{need.key}=ADDRESS, {need.title}"
    return f"{wanted}: get {need.files}, and shard it with: {need.command}"


def plan_study(study: Study, corpora: Mapping[str, str], site: SiteConfig) -> StudyPlan:
    """Resolve every run of the study whose corpus is given; ``corpora`` are addresses by key.

    Raises ValueError for a corpus that the study does not have, and for a run that cannot work.
    """
    known = [corpus.key for corpus in study.corpora]
    if unknown := sorted(set(corpora) - set(known)):
        raise ValueError(f"corpora.{unknown[0]} is no corpus of {study.key}; it has {', '.join(known)}")
    read = {address: read_manifest(Store(address).uri) for address in dict.fromkeys(corpora.values())}
    manifests = {key: read[address] for key, address in corpora.items()}
    trials: dict[StudyRun, Trial] = {}
    for table in study.tables:
        if table.corpus not in manifests:
            continue
        labels = {run: row.label for row in reversed(table.rows) for run in row.runs}
        for run in table.runs:
            axis = "grid" if table.scaling else f"{STUDY}{table.key}: {labels.get(run, 'a run that others start from')}"
            trials[run] = _plan(run, site, manifests, trials, axis)
    return StudyPlan(study, site, trials, manifests)


def _plan(
    run: StudyRun, site: SiteConfig, manifests: Mapping[str, Manifest], trials: Mapping[StudyRun, Trial], axis: str
) -> Trial:
    """One run as a trial. A run that is already planned, for another table, keeps its first place."""
    if run in trials:
        return trials[run]
    if run.corpus not in manifests:
        raise ValueError(f"a run starts from one on the corpus {run.corpus}: give corpora.{run.corpus}=ADDRESS")
    manifest = manifests[run.corpus]
    size = run.size or len(manifest.select("train"))
    config = replace(run.run, data=replace(run.run.data, size=size))
    to_come = False
    if run.parent is not None:
        parent = trials[run.parent].run_id
        config = replace(config, init=InitConfig(parent, run.take))
        to_come = not is_finished(Store(site.out), parent)
    return plan_trial(
        config, replace(site, corpus=manifest.uri), manifest, run.normalised_on or size, axis, parent_to_come=to_come
    )


def plan_again(plan: StudyPlan, run: StudyRun) -> Trial:
    """The trial of a run whose parent has finished, with the parent's weights checked.

    Raises ValueError where these do not fit the run.
    """
    known, earlier = plan.trials[run], {other: trial for other, trial in plan.trials.items() if other is not run}
    trial = _plan(run, plan.site, plan.manifests, earlier, known.planned[0].axis)
    return replace(trial, planned=known.planned)
