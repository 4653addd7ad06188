"""Finished runs with score tables: songs drawn from a seed, scores of a stated skill, rows that recompute from them."""

from __future__ import annotations

import numpy as np
from helpers.sweeps import make_row, make_trial

from genrescale.audio import Vocabulary
from genrescale.metrics import score
from genrescale.results import ResultRow, ScoreTable, write_curve, write_result, write_scores
from genrescale.storage.store import Store

GENRES = ["blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock"]


def multi_label(num_songs: int = 300, num_tags: int = 12, skill: float = 1.0, noise: int = 1) -> ScoreTable:
    """Tags of 4 to 50 % of the songs (the same for every noise), with probabilities near those shares."""
    rng, own = np.random.default_rng(0), np.random.default_rng(noise)
    share_K = np.geomspace(0.04, 0.5, num_tags)
    true_NK = (rng.random((num_songs, num_tags)) < share_K).astype(np.float32)
    logit_NK = np.log(share_K / (1 - share_K)) + skill * (true_NK - share_K) + 0.7 * own.normal(size=true_NK.shape)
    return _table(true_NK, 1 / (1 + np.exp(-logit_NK)))


def single_label(num_songs: int = 200, skill: float = 2.0, noise: int = 1) -> ScoreTable:
    """One of GENRES for each song."""
    rng, own = np.random.default_rng(0), np.random.default_rng(noise)
    true_NK = np.eye(len(GENRES))[rng.integers(0, len(GENRES), num_songs)]
    power_NK = np.exp(skill * true_NK + own.normal(size=true_NK.shape))
    return _table(true_NK, power_NK / power_NK.sum(axis=1, keepdims=True))


def _table(true_NK: np.ndarray, score_NK: np.ndarray) -> ScoreTable:
    keys = [f"song-{i:04}" for i in range(len(true_NK))]
    return ScoreTable(keys, [2] * len(keys), [i == 0 for i in range(len(keys))], true_NK, score_NK)


def write_scored(
    files: Store,
    table: ScoreTable,
    vocabulary: Vocabulary,
    model: str = "waveform",
    size: int = 100,
    seed: int = 0,
    lr: float = 1e-3,
) -> ResultRow:
    trial = make_trial(model, size, seed, lr=lr)
    row = make_row(trial, **score(table.true_NK, table.score_NK, vocabulary), test_songs=len(table.keys))
    write_scores(files, f"runs/{row.run_id}/scores.parquet", table, vocabulary.names)
    steps = np.arange(100, 1001, 100)
    train, val = 0.2 + 0.5 * np.exp(-steps / 300), 0.35 + 0.4 * np.exp(-steps / 200) + 0.0001 * steps * (1 + seed)
    lines = zip(steps.tolist(), train.tolist(), val.tolist(), strict=True)
    write_curve(
        files, row.run_id, [{"step": s, "train_loss": t, "val_loss": v, "val_accuracy": 0.25} for s, t, v in lines]
    )
    write_result(files, row)
    return row
