"""The result row of a run, and the part of it that the run's workers measure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from genrescale.results.typed import STRICT, read_typed
from genrescale.storage.json_bytes import read_object

SCHEMA = 1
"""Of result rows and score tables. It grows when a field goes, is renamed or means something else, or one is added."""


@dataclass(frozen=True, kw_only=True)
class LoopSummary:
    """What a run's workers measured. Every field is one of the result row, which names none of them again.

    Times, clips, bytes and retries are over all attempts of the run and summed over its workers, but where it says so.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    num_params: int
    fresh_weights: list[str]  # weights that the run's parent (init.run) did not give
    val_loss: float
    best_step: int
    steps: int
    stopped_early: bool
    resumed_at: list[int]  # steps at which a restarted attempt continued
    seconds_to_first_step: float  # of the last attempt
    seconds_training: float  # of training steps and validation passes, without saving checkpoints
    clips_per_s: float  # training clips per second of these
    data_wait_share: float  # of these, spent waiting for data by the worker that writes the row
    bytes_delivered: int  # of audio: crops and scored windows, as the workers took them
    bytes_fetched: int  # of audio: the whole seconds that these touch, each read and verified
    storage_retries: int  # reads of the object store that failed and were tried again
    streams: list[dict[str, int | float]]  # telemetry.StreamStats by worker, of the last attempt
    device: str
    nodes: int


@dataclass(frozen=True, kw_only=True)
class ResultRow(LoopSummary):
    """One finished run. ``None`` marks a metric that its tags do not define (no regress tag: no RMSE)."""

    run_id: str
    model: str
    dials: dict[str, Any]
    size: int
    seed: int
    lr: float
    labels: str
    # test metrics of the best checkpoint, over songs
    roc_auc: float | None
    pr_auc: float | None
    rmse: float | None
    accuracy: float | None
    test_songs: int
    padded_songs: int
    unscored_tags: list[str]
    # of a run without tags, means over the test songs of what its pretext task measures (genrescale.training.outputs)
    pretext: dict[str, float] = field(default_factory=dict)
    max_steps: int
    epochs: float
    seconds_total: float  # of the last attempt, from its start to this row
    workers: int
    corpus: str
    corpus_version: str
    data_digest: str
    config: dict[str, Any]
    finished_at: str
    code_version: str  # of the driver (genrescale.results.code_version); no part of the run's identity
    schema: int = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: bytes, where: str) -> ResultRow:
        """Read a row. Raises ValueError, with ``where``, for another schema or a missing, unknown or wrong field."""
        values = read_object(data, where)
        try:
            check_schema("result row", values.get("schema"), str(values.get("code_version", "")))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        names = {f.name for f in fields(cls)}
        if missing_or_unknown := names ^ set(values):
            missing = sorted(missing_or_unknown & names)
            unknown = sorted(missing_or_unknown - names)
            raise ValueError(f"{where}: not a result row: missing fields {missing}, unknown fields {unknown}")
        return read_typed(cls, data, where)


def check_schema(what: str, schema: object, code_version: str = "") -> None:
    """Raises ValueError, with what to do, where something that a run left behind is of another schema than SCHEMA."""
    if schema == SCHEMA:
        return
    found = "has no schema number, so an earlier version wrote it" if schema is None else f"is of schema {schema}"
    writer = f" (code version {code_version})" if code_version else ""
    raise ValueError(
        f"this {what} {found}{writer}, and this version reads schema {SCHEMA}: delete the run's folder and run it "
        "again, or read it with the version that wrote it"
    )
