"""The trials of a report: planned runs with their result rows, of a sweep or of any runs that are to be compared.

A planned trial without a result row is shown as missing, not as zero, and is not left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genrescale.config.metrics import Metric
from genrescale.results import PLANNED_PATH, PlannedTrial, ResultRow, read_planned, read_sound_results, run_folder
from genrescale.results.baseline import finished_baselines
from genrescale.results.search import read_search
from genrescale.results.typed import read_typed
from genrescale.storage.json_bytes import JSON_BYTES
from genrescale.storage.store import Store

MISSING = "missing"
UNPLANNED = "unplanned"
SEARCH = "search"  # the axis of searched runs, which are no point of a mean or fit
COMPUTE = "compute"  # the axis of widths and budgets, which has a section of its own
STUDY = "study "  # begins the axis of a study's runs outside its scaling table; the study's own page shows them
_NOT_TOLD_APART = ("data.size", "seed", "model.name", "data.labels")


def flat_config(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten a config: ``{"data": {"size": 1}}`` -> ``{"data.size": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flat_config(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


@dataclass(frozen=True)
class TrialOutcome:
    """A planned trial, its result row (None if not finished), and its last error, if any.

    ``setting`` tells it apart from runs of the same model with other settings, where any runs are compared.
    """

    planned: PlannedTrial
    row: ResultRow | None
    error: str = ""
    setting: str = ""

    @property
    def family(self) -> str:
        labels = self.planned.config.get("data", {}).get("labels", "true")
        name = self.planned.model if labels == "true" else f"{self.planned.model} ({labels} labels)"
        return f"{name}, {self.setting}" if self.setting else name

    @property
    def scores_path(self) -> str:
        """Where the score table of the run lies once it has finished; "" while there is none."""
        return f"{run_folder(self.planned.run_id)}/scores.parquet" if self.row and not self.row.pretext else ""

    @property
    def finished_at(self) -> str:
        return self.row.finished_at if self.row else ""

    @property
    def status(self) -> str:
        return "finished" if self.row else MISSING

    def value(self, metric: Metric) -> float | None:
        """Return the metric's value; None if the run is missing or the metric is undefined."""
        value = getattr(self.row, metric.key) if self.row else None
        return None if value is None or math.isnan(value) else float(value)


def planned_of(row: ResultRow, axis: str = "grid") -> PlannedTrial:
    return PlannedTrial(row.run_id, axis, row.model, row.size, row.seed, row.lr, {}, row.config)


def read_trials(
    files: Store, compared: Sequence[PlannedTrial] | None = None
) -> tuple[list[TrialOutcome], dict[str, str], dict[str, str]]:
    """Read the planned trials in the order of the plan, then the rows of other runs; or the ``compared`` alone.

    Other runs are those of a search, and unplanned ones.

    Also returns the errors of runs, and the part of them that is about unreadable rows, both by run id. A run whose row
    cannot be read is shown as not finished. Without a plan, all finished runs are compared.
    """
    rows, refused = read_sound_results(files)
    searched = {trial.run_id: trial for trial in read_search(files)} if compared is None else {}
    begun = rows or searched or files.exists(PLANNED_PATH)
    if compared is None and not begun and not finished_baselines(files):
        raise ValueError(
            f"{files.uri} holds no finished run and no sweep; out= is the folder of a sweep or of jobs/train.py"
        )
    if compared is None and rows and not searched and not files.exists(PLANNED_PATH):
        compared = [planned_of(row) for _, row in sorted(rows.items())]
    if compared is not None:
        settings = _settings(compared)
        ids = {trial.run_id for trial in compared}
        errors = {id: text for id, text in (read_failures(files) | refused).items() if id in ids}
        trials = [TrialOutcome(t, rows.get(t.run_id), errors.get(t.run_id, ""), settings[t.run_id]) for t in compared]
        return trials, errors, {id: text for id, text in refused.items() if id in ids}
    errors = read_failures(files) | refused
    planned = read_planned(files) if files.exists(PLANNED_PATH) else []
    others = sorted(set(rows) - {trial.run_id for trial in planned})
    extra = [planned_of(rows[id], SEARCH if id in searched else UNPLANNED) for id in others]
    trials = [TrialOutcome(trial, rows.get(trial.run_id), errors.get(trial.run_id, "")) for trial in [*planned, *extra]]
    return trials, errors, refused


def find_runs(files: Store, names: Sequence[str]) -> list[PlannedTrial]:
    """The finished runs of these ids, or beginnings of ids. Raises ValueError for one that fits none, or several."""
    rows, refused = read_sound_results(files)
    found: dict[str, PlannedTrial] = {}
    for name in names:
        fitting = [id for id in (*rows, *refused) if id.startswith(name)]
        if len(fitting) != 1:
            known = ", ".join(sorted(rows)) or "none"
            what = (
                f"fits several: {', '.join(sorted(fitting))}"
                if fitting
                else f"is none of those that have finished: {known}"
            )
            raise ValueError(f"run {name!r} in {files.uri} {what}")
        if fitting[0] in refused:
            raise ValueError(refused[fitting[0]])
        found[fitting[0]] = planned_of(rows[fitting[0]])
    return list(found.values())


def _settings(compared: Sequence[PlannedTrial]) -> dict[str, str]:
    """By run id, the settings beside size and seed in which a run differs from others of its model; "" if in none."""
    texts: dict[str, str] = {}
    for model in dict.fromkeys(trial.model for trial in compared):
        flats = {trial.run_id: _kept(trial) for trial in compared if trial.model == model}
        keys = sorted({key for flat in flats.values() for key in flat})
        differ = [key for key in keys if len({json.dumps(flat.get(key)) for flat in flats.values()}) > 1]
        # the scalars of normalisation follow from the songs
        differ = [key for key in differ if "log_mel_" not in key]
        for id, flat in flats.items():
            texts[id] = ", ".join(f"{key.rpartition('.')[2]} {flat.get(key, 'not set')}" for key in differ)
    return texts


def _kept(trial: PlannedTrial) -> dict[str, Any]:
    return {key: value for key, value in flat_config(trial.config).items() if key not in _NOT_TOLD_APART}


def read_failures(files: Store) -> dict[str, str]:
    """Read the last error of each failed run (run id -> error) from ``failures.json``; empty if there is none."""
    if not files.exists("failures.json"):
        return {}
    data = files.read_bytes("failures.json", JSON_BYTES)
    failures = read_typed(list[dict[str, str]], data, f"{files.uri}/failures.json")
    return {failure.get("run_id", ""): failure.get("error", "") for failure in failures}
