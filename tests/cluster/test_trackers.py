"""Trackers by Tune's callbacks: each logs a trial's settings and what it reports, into the sweep's folder, offline."""

from __future__ import annotations

import importlib.util
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from genrescale.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SiteConfig
from genrescale.launch.trackers import tracked_settings, tracker_callbacks
from genrescale.launch.watch import trial_name
from genrescale.storage.store import Store

pytestmark = pytest.mark.cluster
ID = "0a1b2c3d4e5f"


@dataclass(frozen=True)
class Trial:
    run: RunConfig
    label: str = "a trial"


def train(config: dict[str, Any]) -> None:
    for step in (10, 20):
        tune.report({"step": step, "val_loss": 1 / step})


def test_mlflow_and_wandb_have_the_settings_and_the_losses(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    names = [name for name in ("mlflow", "wandb") if importlib.util.find_spec(name)]
    if not names:
        pytest.skip("pip install 'genrescale[mlflow,wandb]'")
    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    site = SiteConfig(out=str(tmp_path), track=names)
    run = RunConfig(ModelConfig("spectrogram"), DataConfig(size=100), OptimConfig(lr=0.0125))
    tuner = tune.Tuner(
        tune.with_resources(train, {"CPU": 0.01}),
        param_space={"run_id": tune.grid_search([ID]), **tracked_settings(site, {ID: Trial(run)})},
        tune_config=tune.TuneConfig(trial_name_creator=trial_name, trial_dirname_creator=trial_name),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(tmp_path / "tune"),
            callbacks=tracker_callbacks(names, Store(site.out)),
            verbose=0,
        ),
    )
    (result,) = tuner.fit()
    assert result.error is None
    if "mlflow" in names:
        with sqlite3.connect(tmp_path / "mlflow" / "mlflow.db") as database:
            params = dict(database.execute("select key, value from params"))
            losses = [value for (value,) in database.execute("select value from metrics where key = 'val_loss'")]
        assert "0.0125" in str(params)
        assert ID in str(params)
        assert sorted(losses) == [0.05, 0.1]
    if "wandb" in names:
        (log,) = (tmp_path / "wandb").rglob("*.wandb")
        assert "offline-run" in str(log)
        assert b"optim.lr" in log.read_bytes()
