"""The curves of a report's runs: validation by step, and training beside it; also of runs that have not finished."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from genrescale.config.metrics import ROW_METRICS
from genrescale.report.trials import TrialOutcome
from genrescale.results import read_curve
from genrescale.storage.store import Store

CURVES = ("val_loss", *(f"val_{name}" for name in ROW_METRICS))


@dataclass(frozen=True)
class CurveLine:
    """One run's curve: a value for each validated step, and of a loss that of the training before it."""

    family: str
    size: int
    seed: int
    steps: tuple[float, ...]
    values: tuple[float, ...]
    train_steps: tuple[float, ...] = ()
    train_values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Begun:
    """How far a run is that has not finished: its last validation."""

    step: int
    max_steps: int
    val_loss: float

    @property
    def text(self) -> str:
        return f"not finished: step {self.step:,} of {self.max_steps:,}, validation loss {self.val_loss:.4f}"


def read_curves(files: Store, trials: Sequence[TrialOutcome]) -> dict[str, pa.Table]:
    """The curves of the trials by run id, as far as they have validated."""
    ids = dict.fromkeys(trial.planned.run_id for trial in trials)
    found = {}
    for id in ids:
        try:
            table = read_curve(files, id)
        except ValueError:  # damaged: the run's other figures stand
            continue
        if table is not None and table.num_rows and {"step", "val_loss"} <= set(table.column_names):
            found[id] = table
    return found


def begun_runs(trials: Sequence[TrialOutcome], tables: Mapping[str, pa.Table]) -> dict[str, Begun]:
    """How far the runs are that have validated and not finished, by run id."""
    begun = {}
    for trial in trials:
        id = trial.planned.run_id
        if trial.row is None and id in tables:
            last = {name: tables[id][name][-1].as_py() for name in ("step", "val_loss")}
            max_steps = int(trial.planned.config.get("optim", {}).get("max_steps", 0))
            begun[id] = Begun(int(last["step"]), max_steps, float(last["val_loss"]))
    return begun


def curve_lines(grid: Sequence[TrialOutcome], tables: Mapping[str, pa.Table]) -> dict[str, list[CurveLine]]:
    """The curves of the comparison's runs by curve column; a column without values has no lines."""
    lines_of: dict[str, list[CurveLine]] = {name: [] for name in CURVES}
    for trial in grid:
        if (table := tables.get(trial.planned.run_id)) is None:
            continue
        for name in CURVES:
            train = _known(table, "train_loss") if name == "val_loss" else ((), ())
            if (known := _known(table, name))[0]:
                place = trial.family, trial.planned.size, trial.planned.seed
                lines_of[name].append(CurveLine(*place, *known, *train))
    return lines_of


def _known(table: pa.Table, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The steps and values of a column, where it has finite values."""
    if name not in table.column_names:
        return (), ()
    pairs = zip(table["step"].to_pylist(), table[name].to_pylist(), strict=True)
    known = [(step, value) for step, value in pairs if value is not None and math.isfinite(value)]
    return tuple(step for step, _ in known), tuple(value for _, value in known)
