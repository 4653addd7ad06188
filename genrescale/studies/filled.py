"""Fill the tables of a study with what its runs scored; every number keeps the runs that it is the mean of.

Shapes: N songs, K tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genrescale.config.metrics import METRICS, Metric
from genrescale.data.manifest import Manifest
from genrescale.metrics import score
from genrescale.report.baselines import BaselineLine, read_baselines
from genrescale.report.tables import Cell
from genrescale.report.trials import TrialOutcome, read_failures
from genrescale.results import read_scores, read_sound_results
from genrescale.storage.store import Store
from genrescale.studies.plan import StudyPlan
from genrescale.studies.study import Group, Row, StudyTable
from genrescale.studies.whole_songs import whole_path


@dataclass(frozen=True, eq=False)
class FilledCell:
    """A number of a table over the seeds of its runs, and the paper's; None where the paper prints none."""

    metric: Metric
    ours: Cell
    paper: float | None

    @property
    def difference(self) -> float | None:
        """Ours less the paper's."""
        return None if self.ours.mean is None or self.paper is None else self.ours.mean - self.paper


@dataclass(frozen=True, eq=False)
class FilledRow:
    """A row of a table. ``planned`` is False where we train nothing for it, or its corpus is not given.

    ``baseline`` is what fills the row of one, None if it has not finished.
    """

    row: Row
    group: Group
    planned: bool
    trials: tuple[TrialOutcome, ...]
    cells: tuple[FilledCell, ...]
    baseline: BaselineLine | None = None

    @property
    def anchor(self) -> str:
        """Where the page tells of the first run that has finished, or of the baseline; "" if none has."""
        if self.baseline:
            return f"baseline-{self.baseline.row.baseline_id}"
        return next((f"run-{trial.planned.run_id}" for trial in self.trials if trial.row), "")

    @property
    def params(self) -> int | None:
        return next((trial.row.num_params for trial in self.trials if trial.row), None)


@dataclass(frozen=True, eq=False)
class FilledTable:
    """A table with its rows, and what it lacks if its corpus is not given ("" if it is)."""

    table: StudyTable
    rows: tuple[FilledRow, ...]
    lacking: str

    @property
    def metrics(self) -> list[Metric]:
        return [METRICS[name] for name in self.table.metrics]

    @property
    def trials(self) -> list[TrialOutcome]:
        """Every trial of the table once."""
        found = {trial.planned.run_id: trial for row in self.rows for trial in row.trials}
        return list(found.values())


def fill_tables(plan: StudyPlan) -> tuple[list[FilledTable], dict[str, str]]:
    """Fill every table of a study.

    Also returns why the rows of some runs cannot be read, by run id: these are shown as missing.
    """
    files = Store(plan.site.out)
    rows, refused = read_sound_results(files)
    errors = read_failures(files) | refused
    outcomes: dict[str, TrialOutcome] = {}
    for trial in plan.trials.values():
        outcomes[trial.run_id] = TrialOutcome(
            trial.planned[0], rows.get(trial.run_id), errors.get(trial.run_id, "") if trial.run_id not in rows else ""
        )
    return [
        _fill(plan, table, outcomes, files, plan.lacking.get(table.key, "")) for table in plan.study.tables
    ], refused


def _fill(
    plan: StudyPlan, table: StudyTable, outcomes: Mapping[str, TrialOutcome], files: Store, lacking: str
) -> FilledTable:
    filled = []
    runs = [] if lacking else [outcomes[plan.trials[run].run_id] for run in table.runs]
    baselines = []
    if table.baselines and not lacking:
        baselines = read_baselines(files, runs, plan.manifests[table.corpus].version)[0]
    for group in table.groups:
        for row in group.rows:
            if row.baseline:
                filled.append(_of_baseline(row, group, table, baselines, planned=not lacking))
                continue
            trials = tuple(outcomes[plan.trials[run].run_id] for run in row.runs) if not lacking else ()
            values = [_values(row, trial, plan.manifests[table.corpus], files) for trial in trials]
            cells = tuple(_cell(METRICS[name], values, row) for name in table.metrics)
            filled.append(FilledRow(row, group, bool(trials), trials, cells))
    return FilledTable(table, tuple(filled), lacking)


def _of_baseline(
    row: Row, group: Group, table: StudyTable, baselines: Sequence[BaselineLine], planned: bool
) -> FilledRow:
    """The row of a baseline, from the one of the largest size; ``baselines`` are in falling order of size."""
    found = next((line for line in baselines if line.name == row.baseline), None)
    cells = []
    for metric in (METRICS[name] for name in table.metrics):
        value = found.value(metric) if found else None
        ours = Cell(() if value is None else (value,), int(found is not None), int(planned))
        cells.append(FilledCell(metric, ours, row.paper.get(metric.key)))
    return FilledRow(row, group, planned, (), tuple(cells), found)


def _values(row: Row, trial: TrialOutcome, manifest: Manifest, files: Store) -> Mapping[str, float | None] | None:
    """The metrics of one run as the row asks for them; None if they are not there yet."""
    if trial.row is None:
        return None
    if row.scoring == "windows":
        return {name: trial.value(metric) for name, metric in METRICS.items() if hasattr(trial.row, name)}
    if not files.exists(path := whole_path(trial.planned.run_id)):
        return None
    table, _ = read_scores(files, path)
    return score(table.true_NK, table.score_NK, manifest.vocabulary)


def _cell(metric: Metric, values: list[Mapping[str, float | None] | None], row: Row) -> FilledCell:
    known = [found for found in values if found is not None]
    numbers = tuple(value for found in known if (value := found.get(metric.key)) is not None)
    return FilledCell(metric, Cell(numbers, len(known), len(values)), row.paper.get(metric.key))
