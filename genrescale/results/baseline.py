"""The row of a baseline: a model without a network, trained on the same songs as runs and scored as they are.

``baselines/{id}/result.json`` is the row, ``baselines/{id}/scores.parquet`` beside it the score table, in the format of
runs. The id is a hash of what may change the result.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from genrescale.config import RUN_ID_LEN, canonical_json
from genrescale.results.row import SCHEMA, check_schema
from genrescale.results.typed import STRICT, read_typed
from genrescale.storage.json_bytes import JSON_BYTES, read_object
from genrescale.storage.names import RUN_ID
from genrescale.storage.store import Store

BASELINES = "baselines"
FAILURES_PATH = f"{BASELINES}/failures.json"
FLOOR, TREES, EMBEDDINGS = "linear floor", "boosted trees", "linear on"
"""Names of baselines; that of embeddings goes on with their architecture."""


@dataclass(frozen=True, kw_only=True)
class BaselineRow:
    """One finished baseline. ``None`` marks a metric that its tags do not define.

    ``settings`` were chosen on the validation songs, ``num_features`` is the length of a song's vector. ``seconds`` are
    of fitting, without computing the features.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    baseline_id: str
    name: str
    size: int
    labels: str
    seed: int
    roc_auc: float | None
    pr_auc: float | None
    rmse: float | None
    accuracy: float | None
    test_songs: int
    unscored_tags: list[str]
    settings: dict[str, Any]
    num_features: int
    seconds: float
    corpus: str
    corpus_version: str
    data_digest: str
    finished_at: str
    code_version: str
    schema: int = SCHEMA


@dataclass(frozen=True)
class BaselineFailure:
    """Why a baseline could not be trained."""

    __pydantic_config__: ClassVar[Any] = STRICT

    name: str
    size: int
    error: str


def baseline_id(science: dict[str, Any], data_digest: str) -> str:
    """The id of a baseline: a hash of its ``science``, what may change the result, and of the digest of its data."""
    text = canonical_json({"baseline": science, "data": data_digest})
    return hashlib.sha256(text.encode()).hexdigest()[:RUN_ID_LEN]


def baseline_folder(id: str) -> str:
    return f"{BASELINES}/{id}"


def write_baseline(files: Store, row: BaselineRow) -> None:
    """The last file that a baseline writes: where it lies, the baseline is finished."""
    text = json.dumps(asdict(row), indent=1, sort_keys=True, allow_nan=False)
    files.write_bytes(f"{baseline_folder(row.baseline_id)}/result.json", text.encode())


def is_baseline_finished(files: Store, id: str) -> bool:
    return files.exists(f"{baseline_folder(id)}/result.json")


def finished_baselines(files: Store) -> list[str]:
    """The ids of all finished baselines, whichever version wrote their rows."""
    names = [path.split("/")[1] for path in files.list(BASELINES) if path.endswith("/result.json")]
    return [name for name in names if RUN_ID.fullmatch(name)]


def read_baseline(files: Store, id: str) -> BaselineRow:
    """Read a row.

    Raises FileNotFoundError if there is none, ValueError, naming the file, if it is damaged or of another schema.
    """
    path = f"{baseline_folder(id)}/result.json"
    data, where = files.read_bytes(path, JSON_BYTES), f"{files.uri}/{path}"
    values = read_object(data, where)
    try:
        check_schema("row of a baseline", values.get("schema"), str(values.get("code_version", "")))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if missing := sorted({f.name for f in fields(BaselineRow)} - set(values)):
        raise ValueError(f"{where}: not the row of a baseline: missing fields {missing}")
    row = read_typed(BaselineRow, data, where)
    if row.baseline_id != id:
        raise ValueError(f"{where}: it is the row of baseline {row.baseline_id}")
    return row


def write_baseline_failures(files: Store, failures: list[BaselineFailure]) -> None:
    """Note what failed, in place of what failed before."""
    if not failures and not files.exists(FAILURES_PATH):
        return
    files.write_bytes(FAILURES_PATH, json.dumps([asdict(failure) for failure in failures], indent=1).encode())


def read_baseline_failures(files: Store) -> list[BaselineFailure]:
    """What failed when baselines were trained here last; none if nothing did."""
    if not files.exists(FAILURES_PATH):
        return []
    data = files.read_bytes(FAILURES_PATH, JSON_BYTES)
    return read_typed(list[BaselineFailure], data, f"{files.uri}/{FAILURES_PATH}")
