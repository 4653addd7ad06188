"""Experiment trackers beside our own files: MLflow, Weights & Biases and Aim, by Ray Tune's own callbacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray import tune

from genrescale.config import SiteConfig
from genrescale.launch.watch import Watched
from genrescale.storage.store import Store
from genrescale.training.events import settings_of

EXPERIMENT = "genrescale"


def tracker_callbacks(names: Sequence[str], out: Store) -> list[Any]:
    """The callbacks of Tune for ``site.track``, which log the settings and every validation of each run."""
    return [_CALLBACKS[name](out) for name in names]


def tracked_settings(site: SiteConfig, trials: Mapping[str, Watched]) -> dict[str, Any]:
    """What Tune's configuration of a trial needs for trackers: the settings of its run, by the run's id.

    The trial itself has them by its ticket.
    """
    if not site.track:
        return {}
    settings = {id: settings_of(trial.run) for id, trial in trials.items()}
    return {"settings": tune.sample_from(lambda config: settings[config["run_id"]])}


def _folder(name: str, out: Store) -> str:
    local = out.local_path(name)
    assert local is not None, "check_trackers has looked"
    local.mkdir(parents=True, exist_ok=True)
    return str(local)


def _mlflow(out: Store) -> Any:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        uri = f"sqlite:///{_folder('mlflow', out)}/mlflow.db"
    return MLflowLoggerCallback(tracking_uri=uri, experiment_name=EXPERIMENT)


def _wandb(out: Store) -> Any:
    """Offline unless WANDB_MODE says otherwise: nothing leaves this machine before ``wandb sync``."""
    from ray.air.integrations.wandb import WandbLoggerCallback

    mode = os.environ.setdefault("WANDB_MODE", "offline")
    folder = _folder("wandb", out)
    return WandbLoggerCallback(project=os.environ.get("WANDB_PROJECT", EXPERIMENT), mode=mode, dir=folder)


def _aim(out: Store) -> Any:
    from ray.tune.logger.aim import AimLoggerCallback

    return AimLoggerCallback(repo=_folder("aim", out), experiment_name=EXPERIMENT)


_CALLBACKS: dict[str, Callable[[Store], Any]] = {"mlflow": _mlflow, "wandb": _wandb, "aim": _aim}
