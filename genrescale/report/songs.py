"""What the choice of test songs does to a report's figures: intervals over resampled songs, and what no model needs.

Shapes: N songs, K tags, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from genrescale import scaling
from genrescale.config.metrics import Metric
from genrescale.metrics import macro_pr_auc, scorable_tags
from genrescale.metrics.bootstrap import resampled_values
from genrescale.report.trials import TrialOutcome
from genrescale.results import ScoreTable, read_scores
from genrescale.storage.store import Store

_WORK = 10_000_000  # labels that are resampled for one figure of one run: a second or less
_RESAMPLES = (40, 400)
_NORMAL = 1.96


class Scored(Protocol):
    """A run or a baseline: where its score table lies ("": nowhere yet), when it ended, and its metrics."""

    @property
    def scores_path(self) -> str: ...

    @property
    def finished_at(self) -> str: ...

    def value(self, metric: Metric) -> float | None: ...


_Finished = tuple[str, str]  # the path of a score table, and when what wrote it finished ("": not yet)


def _finished(scored: Scored) -> _Finished:
    return scored.scores_path, scored.finished_at


@dataclass(frozen=True, eq=False)
class TestSongs:
    """The score tables of finished runs, read once, and the metrics of each on resampled songs.

    A run that is run again has another time of its end, and is read again.
    """

    __test__ = False  # no test of pytest's

    files: Store
    _tables: dict[_Finished, ScoreTable | None] = field(default_factory=dict)
    _values: dict[tuple[_Finished, str], np.ndarray | None] = field(default_factory=dict)

    def forget_missing(self) -> None:
        """Look again, for the next report, for the tables that were not there or could not be read."""
        for run in [run for run, table in self._tables.items() if table is None]:
            del self._tables[run]
        for place in [place for place, value in self._values.items() if value is None]:
            del self._values[place]

    def table(self, scored: Scored) -> ScoreTable | None:
        """The score table of a run or baseline; None if there is none yet, or it is gone or cannot be read."""
        place = _finished(scored)
        if place not in self._tables:
            self._tables[place] = self._read(place[0]) if place[0] else None
        return self._tables[place]

    def interval(
        self, metric: Metric, first: Sequence[Scored], second: Sequence[Scored] = ()
    ) -> scaling.Interval | None:
        """The 95 % interval of the mean over ``first``, less that over ``second``, if other songs had been drawn.

        None if a run has no score table, if the runs were scored on different songs, or if any songs of these score
        the same.
        """
        parts = [[trial for trial in part if trial.value(metric) is not None] for part in (first, second)]
        tables = [self.table(trial) for part in parts for trial in part]
        if not tables or any(table is None or tables[0] is None or table.keys != tables[0].keys for table in tables):
            return None
        value, value_R = 0.0, np.zeros(1)
        for sign, part in zip((1, -1), parts, strict=True):
            for trial in part:
                resampled_R = self._resampled(metric, trial)
                if resampled_R is None:
                    return None
                value += sign * (trial.value(metric) or 0.0) / len(part)
                value_R = value_R + sign * resampled_R / len(part)
        half = _NORMAL * float(np.nanstd(value_R))
        # of a few songs that are all right, or all wrong, every choice scores the same, which says nothing
        return (value - half, value + half) if half > 0 else None

    def resampled_means(self, metric: Metric, groups: Sequence[Sequence[TrialOutcome]]) -> list[np.ndarray]:
        """For each group of runs the mean over them of the metric on resampled songs (R,), the same songs for all.

        Empty if a run has no score table, or if the runs were scored on different songs.
        """
        tables = [self.table(trial) for group in groups for trial in group]
        if not tables or any(table is None or tables[0] is None or table.keys != tables[0].keys for table in tables):
            return []
        found = [[self._resampled(metric, trial) for trial in group] for group in groups]
        known = [[value_R for value_R in group if value_R is not None] for group in found]
        if any(not group or len(group) < len(of) for group, of in zip(known, found, strict=True)):
            return []
        return [np.mean(group, axis=0) for group in known]

    def _read(self, path: str) -> ScoreTable | None:
        if not self.files.exists(path):
            return None
        try:
            return read_scores(self.files, path)[0]
        except ValueError:  # of another version, or damaged: the row's figures stand, without an interval
            return None

    def _resampled(self, metric: Metric, trial: Scored) -> np.ndarray | None:
        place = _finished(trial), metric.key
        if place not in self._values:
            table = self.table(trial)
            self._values[place] = None if table is None else _resampled(metric, table)
        return self._values[place]


def _columns(metric: Metric, true_NK: np.ndarray) -> np.ndarray:
    """The tags (K,) that a metric is about. A score table does not say which are regressed: those with other labels."""
    classify_K = _classify(true_NK)
    return ~classify_K if metric.defined_by == "regress" else classify_K


def _classify(true_NK: np.ndarray) -> np.ndarray:
    return np.array([bool(np.isin(true_N, (0, 1)).all()) for true_N in true_NK.T])


def _resampled(metric: Metric, table: ScoreTable) -> np.ndarray | None:
    kept_K = _columns(metric, table.true_NK)
    if not kept_K.any():
        return None
    true_NK, score_NK = table.true_NK[:, kept_K], table.score_NK[:, kept_K]
    few, many = _RESAMPLES
    return resampled_values(metric.key, true_NK, score_NK, max(few, min(many, _WORK // true_NK.size)))


@dataclass(frozen=True)
class Baseline:
    """What an answer scores that is the same for every song: the most frequent class, the mean of each tag."""

    name: str
    values: Mapping[str, float]


def baseline(trials: Sequence[TrialOutcome], songs: TestSongs) -> Baseline | None:
    """The baseline on the test songs of the first run that has a score table."""
    tables = ((trial.row, songs.table(trial)) for trial in trials)
    row, table = next(((row, table) for row, table in tables if row and table), (None, None))
    if row is None or table is None:
        return None
    true_NK = table.true_NK.astype(float)
    classify_K = _classify(true_NK)
    values: dict[str, float] = {}
    if row.accuracy is not None:
        values["accuracy"] = float(true_NK.mean(axis=0).max())
    if classify_K.any() and scorable_tags(true_NK[:, classify_K]).any():
        values["roc_auc"] = 0.5
        values["pr_auc"] = macro_pr_auc(true_NK[:, classify_K], np.zeros((len(true_NK), int(classify_K.sum())))) or 0.0
    if not classify_K.all():
        values["rmse"] = float(np.sqrt(true_NK[:, ~classify_K].var(axis=0).mean()))
    return Baseline("majority class" if row.accuracy is not None else "same answer for all", values)
