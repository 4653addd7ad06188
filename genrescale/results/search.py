"""The ledger of a search: every trial with its sampled values, what it cost, its scores, and why it was stopped.

``search.json`` in the folder of a sweep. It alone says what a search has tried and decided, so a search that was killed
continues from it, and a report needs nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from genrescale.results.typed import STRICT, read_typed
from genrescale.storage.json_bytes import JSON_BYTES
from genrescale.storage.lease import publish
from genrescale.storage.store import Store

SEARCH_PATH = "search.json"
WAITING, RUNNING, FINISHED, STOPPED, FAILED = "waiting", "running", "finished", "stopped", "failed"
OVER = (FINISHED, STOPPED, FAILED)


@dataclass(frozen=True)
class SearchTrial:
    """One trial of a search.

    ``number`` counts the trials of a family and size. ``base`` is the id of the run that they all vary: trials of
    another one cannot be compared. ``values`` are the sampled values by the field's dotted name in a run. ``metric`` is
    what its ``score``, the best one so far, is a value of. ``rungs`` are the scores at which it was compared with
    others, by step. ``steps`` are those that it came to, ``seconds`` what it has cost, restarts included. ``reason``
    says why it was stopped or failed.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    run_id: str
    family: str
    size: int
    number: int
    base: str
    algorithm: str
    values: dict[str, float]
    max_steps: int
    metric: str
    status: str = WAITING
    reason: str = ""
    score: float | None = None
    steps: int = 0
    seconds: float = 0.0
    rungs: dict[str, float] = field(default_factory=dict)

    @property
    def place(self) -> tuple[str, int]:
        """The trials that it is compared with are those of its family and size."""
        return self.family, self.size

    def better(self, score: float, than: float) -> bool:
        return score < than if lower_is_better(self.metric) else score > than


def lower_is_better(metric: str) -> bool:
    """Of the figures that choose a checkpoint (``config.optim.SELECTORS``), the loss is the one to make small."""
    return metric == "val_loss"


def read_search(files: Store) -> list[SearchTrial]:
    """The trials of a folder's searches; none if nothing was searched. Raises ValueError for a damaged ledger."""
    if not files.exists(SEARCH_PATH):
        return []
    return read_typed(list[SearchTrial], files.read_bytes(SEARCH_PATH, JSON_BYTES), f"{files.uri}/{SEARCH_PATH}")


def write_search(files: Store, trials: Sequence[SearchTrial]) -> None:
    """Write the ledger, by the lease of the sweep where this thread holds it."""
    text = json.dumps([asdict(trial) for trial in trials], indent=1, sort_keys=True, allow_nan=False)
    publish(files, SEARCH_PATH, text.encode())


def best_trials(trials: Sequence[SearchTrial]) -> dict[tuple[str, int], SearchTrial]:
    """The finished trial with the best score, by family and size; of equal ones the first."""
    best: dict[tuple[str, int], SearchTrial] = {}
    for trial in trials:
        if trial.status != FINISHED or trial.score is None:
            continue
        leader = best.get(trial.place)
        if leader is None or leader.score is None or trial.better(trial.score, leader.score):
            best[trial.place] = trial
    return best
