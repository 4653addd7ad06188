"""Sweeps as their files: planned trials and finished runs with plausible numbers, for tests that train nothing.

And the smallest one that is trained.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import Any

import numpy as np

from genrescale.config import DataConfig, ModelConfig, OptimConfig, RunConfig, run_id
from genrescale.results import PlannedTrial, ResultRow, write_curve, write_result
from genrescale.storage.store import Store

FAMILIES = ("waveform", "spectrogram")
SIZES = (100, 400, 1600)
SEEDS = (0, 1, 2)
DIALS = {"waveform": {"backend_layers": 3, "frontend_layers": 7}, "spectrogram": {"backend_layers": 3}}
TAGS = ["rock", "calm", "energy"]
# settings of jobs/scale_sweep.py: the smallest sweep that compares, one run of each family
ONE_SIZE = [
    *("sweep=demo", "sizes=[40]", "seeds=[0]", "synthesis=null"),
    *("data.batch=8", "data.group=4", "optim.max_steps=12", "optim.validate_every=6"),
]


def make_trial(
    model: str, size: int, seed: int, axis: str = "grid", lr: float = 1e-3, layers: dict[str, int] | None = None
) -> PlannedTrial:
    config = RunConfig(
        model=ModelConfig(model, DIALS[model] | (layers or {})),
        data=DataConfig(size=size, crop_s=3.0),
        optim=OptimConfig(lr=lr, max_steps=600, validate_every=100),
        seed=seed,
    )
    name = run_id(config, "digest")
    return PlannedTrial(name, axis, model, size, seed, lr, layers or {}, asdict(config))


def make_row(trial: PlannedTrial, **changed: Any) -> ResultRow:
    """A row whose metrics rise with the size, the waveform's faster, with noise by seed."""
    layers = trial.config["model"]["dials"]["backend_layers"]
    rng = np.random.default_rng([trial.size, trial.seed, len(trial.model), round(trial.lr * 1e6), layers])
    gain = (0.080 if trial.model == "waveform" else 0.060) * np.log10(trial.size / 100)
    start = (0.30 if trial.model == "waveform" else 0.32) - 0.02 * abs(np.log10(trial.lr / 1e-3))
    pr_auc = float(start + gain + rng.normal(0, 0.004))
    values: dict[str, Any] = {
        "run_id": trial.run_id, "model": trial.model, "dials": trial.config["model"]["dials"], "size": trial.size,
        "seed": trial.seed, "lr": trial.lr, "labels": "true", "num_params": 412_345,
        "roc_auc": 0.5 + 0.8 * pr_auc, "pr_auc": pr_auc, "rmse": 0.25 - pr_auc / 5, "accuracy": None,
        "test_songs": 300, "padded_songs": 2, "unscored_tags": ["genre/polka"], "val_loss": 0.7 - pr_auc,
        "best_step": 500, "steps": 600, "max_steps": 600, "stopped_early": False, "epochs": 600 * 32 / trial.size,
        "seconds_total": 41.5 + trial.seed, "seconds_to_first_step": 12.3, "seconds_training": 25.0,
        "clips_per_s": 768.4, "data_wait_share": 0.031, "bytes_delivered": 123_456_789, "bytes_fetched": 150_000_000,
        "workers": 1, "nodes": 1, "resumed_at": [], "storage_retries": 0, "streams": [], "fresh_weights": [],
        "device": "cpu",
        "corpus": "synthetic", "corpus_version": "1", "data_digest": f"digest-{trial.size}", "config": trial.config,
        "finished_at": "2026-01-02T03:04:05Z", "code_version": "0.1.0+g1a2b3c4d5e6f",
    }  # fmt: skip
    return ResultRow(**(values | changed))


def make_plan() -> list[PlannedTrial]:
    grid = [make_trial(*place) for place in itertools.product(FAMILIES, SIZES, SEEDS)]
    rates = [make_trial(model, 100, 0, "lr", lr) for model in FAMILIES for lr in (3e-4, 3e-3)]
    layers = [make_trial(model, 100, 0, "layers", layers={"backend_layers": n}) for model in FAMILIES for n in (1, 2)]
    return grid + rates + layers


def write_run(files: Store, trial: PlannedTrial, **changed: Any) -> ResultRow:
    row = make_row(trial, **changed)
    curve = [
        {
            "step": step,
            "val_loss": row.val_loss + 0.3 * np.exp(-step / 150),
            "val_pr_auc": (row.pr_auc or 0) - 30 / step,
        }
        for step in range(100, 601, 100)
    ]
    write_curve(files, trial.run_id, curve)
    write_result(files, row)
    return row
