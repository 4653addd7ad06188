"""What a run leaves behind: one typed result row, one score table and one learning curve.

Layout under a sweep's ``out`` folder::

    sweep.json                      the planned trials: what a report must show, or show as missing
    runs/{run_id}/result.json       ResultRow (genrescale.results.row)
    runs/{run_id}/scores.parquet    one row per test song: key, num_windows, padded, true (K,), score (K,)
    runs/{run_id}/model.safetensors the best weights (genrescale.results.weights)
    runs/{run_id}/curve.parquet     one row per validation: step, train_loss, val_loss, val_roc_auc, ...

Every number in a report comes from a ResultRow, and a ResultRow's metrics recompute from its score table. Rows and
score tables have a schema number: one of another schema is refused, with what to do.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from genrescale.config.metrics import ROW_METRICS
from genrescale.results.row import SCHEMA, LoopSummary, ResultRow, check_schema
from genrescale.results.typed import STRICT, read_typed
from genrescale.storage.json_bytes import JSON_BYTES, read_json
from genrescale.storage.parquet import read_table, table_bytes
from genrescale.storage.store import Store


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of a sweep: its run id, the axis it belongs to and its coordinates.

    ``axis`` is ``grid`` (family x size x seed), ``lr``, ``layers`` or ``compute``. ``layers`` is its place there: layer
    counts, or width, budget and operations of a clip. ``config`` is the run's science as a dict.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    run_id: str
    axis: str
    model: str
    size: int
    seed: int
    lr: float
    layers: dict[str, float]
    config: dict[str, Any]


PLANNED_PATH = "sweep.json"
CURVE_COLUMNS = ("step", "epoch", "lr", "train_loss", "val_loss", *(f"val_{name}" for name in ROW_METRICS))


@dataclass(frozen=True)
class ScoreTable:
    """Per song: its key, the windows averaged, whether it was padded, its true labels and scores (N, K)."""

    keys: list[str]
    num_windows: list[int]
    padded: list[bool]
    true_NK: np.ndarray
    score_NK: np.ndarray


def run_folder(run_id: str) -> str:
    return f"runs/{run_id}"


def write_scores(files: Store, path: str, scores: ScoreTable, tag_names: Sequence[str]) -> None:
    """The tag names travel in the table's metadata, so that it can be read alone."""
    columns = {
        "key": pa.array(scores.keys, pa.string()),
        "num_windows": pa.array(scores.num_windows, pa.int32()),
        "padded": pa.array(scores.padded, pa.bool_()),
        "true": pa.array(list(scores.true_NK.astype(np.float32)), pa.list_(pa.float32())),
        "score": pa.array(list(scores.score_NK.astype(np.float64)), pa.list_(pa.float64())),
    }
    metadata = {"tags": json.dumps(list(tag_names)), "schema": json.dumps(SCHEMA)}
    table = pa.table(columns).replace_schema_metadata(metadata)
    files.write_bytes(path, table_bytes(table))


def read_scores(files: Store, path: str) -> tuple[ScoreTable, list[str]]:
    """A score table and its tag names. Raises ValueError, naming the file, for a table of another schema."""
    table, where = read_table(files, path), f"{files.uri}/{path}"
    metadata = table.schema.metadata or {}
    try:
        check_schema("score table", read_json(metadata.get(b"schema", b"null"), "its schema number"))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    num_tags = len(names := read_typed(list[str], metadata.get(b"tags", b""), f"the tags of {where}"))
    matrix = {
        name: np.asarray(table[name].combine_chunks().flatten()).reshape(-1, num_tags) for name in ("true", "score")
    }
    scores = ScoreTable(
        keys=table["key"].to_pylist(),
        num_windows=table["num_windows"].to_pylist(),
        padded=table["padded"].to_pylist(),
        true_NK=matrix["true"],
        score_NK=matrix["score"],
    )
    return scores, names


def join_scores(parts: Sequence[ScoreTable], expected_keys: Sequence[str]) -> ScoreTable:
    """The ranks' score tables as one, in the order of ``expected_keys``.

    Raises ValueError that names songs which are missing or scored twice.
    """
    keys = [key for part in parts for key in part.keys]
    place = {key: i for i, key in enumerate(keys)}
    missing = [key for key in expected_keys if key not in place]
    if missing or len(keys) != len(expected_keys):
        raise ValueError(
            f"the score tables hold {len(keys)} songs of {len(expected_keys)}; missing: {missing[:5]}; "
            f"scored twice: {len(keys) - len(place)}"
        )
    order = [place[key] for key in expected_keys]
    num_windows = [count for part in parts for count in part.num_windows]
    padded = [flag for part in parts for flag in part.padded]
    return ScoreTable(
        keys=list(expected_keys),
        num_windows=[num_windows[i] for i in order],
        padded=[padded[i] for i in order],
        true_NK=np.concatenate([part.true_NK for part in parts])[order],
        score_NK=np.concatenate([part.score_NK for part in parts])[order],
    )


def summary_path(run_id: str) -> str:
    return f"{run_folder(run_id)}/loop.json"


def write_summary(files: Store, run_id: str, summary: LoopSummary) -> None:
    """Rank 0's last word to the driver, which makes the result row of it and deletes it."""
    files.write_bytes(summary_path(run_id), json.dumps(asdict(summary)).encode())


def read_summary(files: Store, run_id: str) -> LoopSummary:
    path = summary_path(run_id)
    return read_typed(LoopSummary, files.read_bytes(path, JSON_BYTES), f"{files.uri}/{path}")


def write_result(files: Store, row: ResultRow) -> None:
    """The last file that a run writes: where it lies, the run is finished."""
    text = json.dumps(row.to_dict(), indent=1, sort_keys=True, allow_nan=False)
    files.write_bytes(f"{run_folder(row.run_id)}/result.json", text.encode())


def is_finished(files: Store, run_id: str) -> bool:
    return files.exists(f"{run_folder(run_id)}/result.json")


def finished_runs(files: Store) -> list[str]:
    """The ids of all finished runs, whichever version wrote their rows."""
    return [path.split("/")[1] for path in files.list("runs") if path.endswith("/result.json")]


def read_result(files: Store, run_id: str) -> ResultRow | None:
    """The row of a finished run, or None. Raises ValueError, naming the file, for one of another schema."""
    if not is_finished(files, run_id):
        return None
    path = f"{run_folder(run_id)}/result.json"
    row = ResultRow.from_json(files.read_bytes(path, JSON_BYTES), f"{files.uri}/{path}")
    if row.run_id != run_id:
        raise ValueError(f"{files.uri}/{path}: it is the row of run {row.run_id}")
    return row


def read_results(files: Store) -> dict[str, ResultRow]:
    """Read all finished runs, by run id. Raises ValueError, naming the file, for a row that cannot be read."""
    return {run_id: row for run_id in finished_runs(files) if (row := read_result(files, run_id)) is not None}


def read_sound_results(files: Store) -> tuple[dict[str, ResultRow], dict[str, str]]:
    """Read all finished runs, by run id, and why the rows of others cannot be read: one bad file hides no other."""
    rows, refused = {}, {}
    for run_id in finished_runs(files):
        try:
            if (row := read_result(files, run_id)) is not None:
                rows[run_id] = row
        except ValueError as error:
            refused[run_id] = str(error)
    return rows, refused


def write_curve(files: Store, run_id: str, rows: Sequence[dict[str, float | None]]) -> None:
    """One row per validation, with CURVE_COLUMNS."""
    table = pa.table({name: pa.array([row.get(name) for row in rows], pa.float64()) for name in CURVE_COLUMNS})
    files.write_bytes(f"{run_folder(run_id)}/curve.parquet", table_bytes(table))


def read_curve(files: Store, run_id: str) -> pa.Table | None:
    path = f"{run_folder(run_id)}/curve.parquet"
    return read_table(files, path) if files.exists(path) else None


def write_planned(files: Store, trials: Sequence[PlannedTrial]) -> None:
    text = json.dumps([asdict(trial) for trial in trials], indent=1, sort_keys=True)
    files.write_bytes(PLANNED_PATH, text.encode())


def read_planned(files: Store) -> list[PlannedTrial]:
    """Read the plan. Raises FileNotFoundError if no sweep was planned, ValueError if it cannot be read."""
    return read_typed(list[PlannedTrial], files.read_bytes(PLANNED_PATH, JSON_BYTES), f"{files.uri}/{PLANNED_PATH}")
