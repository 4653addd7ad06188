"""Finished baselines with score tables, of stated scores."""

from __future__ import annotations

from typing import Any

from helpers.scored_runs import GENRES

from genrescale.audio import Vocabulary
from genrescale.metrics import score
from genrescale.results import ScoreTable, write_scores
from genrescale.results.baseline import FLOOR, BaselineRow, write_baseline
from genrescale.storage.store import Store

VOCABULARY = Vocabulary.of_classes(GENRES, exclusive=True)


def write_floor(files: Store, table: ScoreTable, size: int = 100, id: str = "", **changed: Any) -> BaselineRow:
    values: dict[str, Any] = {
        "baseline_id": id or f"{size:012x}", "name": FLOOR, "size": size, "labels": "true", "seed": 0,
        **score(table.true_NK, table.score_NK, VOCABULARY),
        "test_songs": len(table.keys), "settings": {}, "num_features": 576, "seconds": 1.0, "corpus": "synthetic",
        "corpus_version": "1", "data_digest": f"digest-{size}", "finished_at": "2026-01-02T03:04:05Z",
        "code_version": "0.1.0",
    }  # fmt: skip
    row = BaselineRow(**(values | changed))
    write_scores(files, f"baselines/{row.baseline_id}/scores.parquet", table, VOCABULARY.names)
    write_baseline(files, row)
    return row
