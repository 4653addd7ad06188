"""What a run leaves behind: one typed result row, one score table and one learning curve.

Layout under a sweep's ``out`` folder::

    sweep.json                      the planned trials: what a report must show, or show as missing
    runs/{run_id}/result.json       ResultRow
    runs/{run_id}/scores.parquet    one row per test song: key, num_crops, padded, true (K,), score (K,)
    runs/{run_id}/model.safetensors the best weights (genrescale.results.weights)
    runs/{run_id}/curve.parquet     one row per validation: step, train_loss, val_loss, val_roc_auc, ...

Every number in a report comes from a ResultRow, and a ResultRow's metrics recompute from its score table.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

import numpy as np
import pyarrow as pa

from genrescale.config.metrics import ROW_METRICS
from genrescale.storage.parquet import read_table, table_bytes
from genrescale.storage.store import Store


@dataclass(frozen=True)
class ResultRow:
    """One finished run. ``None`` marks a metric that its tags do not define (no regress tag: no RMSE)."""

    run_id: str
    model: str
    dials: dict[str, Any]
    size: int
    seed: int
    lr: float
    labels: str
    num_params: int
    # test metrics of the best checkpoint, over songs
    roc_auc: float | None
    pr_auc: float | None
    rmse: float | None
    accuracy: float | None
    test_songs: int
    padded_songs: int
    unscored_tags: list[str]
    # training
    val_loss: float
    best_step: int
    steps: int
    max_steps: int
    stopped_early: bool
    epochs: float
    # cost; seconds_total and seconds_to_first_step are of the last attempt, seconds_training of all
    seconds_total: float
    seconds_to_first_step: float
    seconds_training: float
    songs_per_s: float
    data_wait_share: float
    bytes_read: int
    workers: int
    nodes: int
    device: str
    corpus: str
    corpus_version: str
    data_digest: str
    config: dict[str, Any]
    finished_at: str
    resumed_at: list[int] = field(default_factory=list)  # steps at which a restarted attempt continued
    storage_retries: int = 0  # reads of the object store that failed and were tried again, over all attempts
    streams: list[dict[str, float]] = field(default_factory=list)  # telemetry.StreamStats by worker, last attempt
    fresh_weights: list[str] = field(default_factory=list)  # weights that the run's parent (init.run) did not give
    # of a run without tags, means over the test songs of what its pretext task measures (genrescale.training.outputs)
    pretext: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ResultRow:
        """Raises ValueError that names the missing or unknown fields; a field with a default may be absent."""
        required = {f.name for f in fields(cls) if f.default_factory is MISSING and f.default is MISSING}
        missing = sorted(required - set(values))
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if missing or unknown:
            raise ValueError(f"not a result row: missing fields {missing}, unknown fields {unknown}")
        return cls(**values)


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of a sweep: its run id, the axis it belongs to and its coordinates.

    ``axis`` is ``grid`` (family x size x seed), ``lr`` or ``layers``. ``config`` is the run's science as a dict.
    """

    run_id: str
    axis: str
    model: str
    size: int
    seed: int
    lr: float
    layers: dict[str, int]
    config: dict[str, Any]


PLANNED_PATH = "sweep.json"
CURVE_COLUMNS = ("step", "epoch", "lr", "train_loss", "val_loss", *(f"val_{name}" for name in ROW_METRICS))


@dataclass(frozen=True)
class ScoreTable:
    """Per song: its key, the windows averaged, whether it was padded, its true labels and scores (N, K)."""

    keys: list[str]
    num_crops: list[int]
    padded: list[bool]
    true_NK: np.ndarray
    score_NK: np.ndarray


def run_folder(run_id: str) -> str:
    return f"runs/{run_id}"


def write_scores(files: Store, path: str, scores: ScoreTable, tag_names: Sequence[str]) -> None:
    """The tag names travel in the table's metadata, so that it can be read alone."""
    columns = {
        "key": pa.array(scores.keys, pa.string()),
        "num_crops": pa.array(scores.num_crops, pa.int32()),
        "padded": pa.array(scores.padded, pa.bool_()),
        "true": pa.array(list(scores.true_NK.astype(np.float32)), pa.list_(pa.float32())),
        "score": pa.array(list(scores.score_NK.astype(np.float64)), pa.list_(pa.float64())),
    }
    table = pa.table(columns).replace_schema_metadata({"tags": json.dumps(list(tag_names))})
    files.write_bytes(path, table_bytes(table))


def read_scores(files: Store, path: str) -> tuple[ScoreTable, list[str]]:
    """A score table and its tag names."""
    table = read_table(files, path)
    num_tags = len(names := json.loads(table.schema.metadata[b"tags"]))
    matrix = {
        name: np.asarray(table[name].combine_chunks().flatten()).reshape(-1, num_tags) for name in ("true", "score")
    }
    scores = ScoreTable(
        keys=table["key"].to_pylist(),
        num_crops=table["num_crops"].to_pylist(),
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
    num_crops = [count for part in parts for count in part.num_crops]
    padded = [flag for part in parts for flag in part.padded]
    return ScoreTable(
        keys=list(expected_keys),
        num_crops=[num_crops[i] for i in order],
        padded=[padded[i] for i in order],
        true_NK=np.concatenate([part.true_NK for part in parts])[order],
        score_NK=np.concatenate([part.score_NK for part in parts])[order],
    )


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
    """The row of a finished run, or None. Raises ValueError, naming the file, for one of another version."""
    if not is_finished(files, run_id):
        return None
    path = f"{run_folder(run_id)}/result.json"
    try:
        return ResultRow.from_dict(json.loads(files.read_bytes(path)))
    except ValueError as error:
        raise ValueError(f"{files.uri}/{path}: {error}") from None


def read_results(files: Store) -> dict[str, ResultRow]:
    """All finished runs by run id."""
    return {run_id: row for run_id in finished_runs(files) if (row := read_result(files, run_id)) is not None}


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
    """Raises FileNotFoundError where no sweep was planned."""
    return [PlannedTrial(**trial) for trial in json.loads(files.read_bytes(PLANNED_PATH))]
