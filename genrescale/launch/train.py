"""launch_training(): one run, from a sharded corpus to a result row, on Ray Train around the training loop."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import ray

from genrescale.config import RunConfig, SiteConfig, run_id, science
from genrescale.data.manifest import read_manifest
from genrescale.launch.capacity import capacity
from genrescale.launch.cluster import cluster_nodes
from genrescale.launch.process_group import torch_config
from genrescale.launch.worker import error_path, loop_path, run_worker
from genrescale.results import (
    ResultRow,
    join_scores,
    read_result,
    read_scores,
    run_folder,
    write_curve,
    write_result,
    write_scores,
)
from genrescale.results.stream_stats import streams_path
from genrescale.storage.store import Store
from genrescale.training.outputs import outputs_of
from genrescale.training.prepare import RunData, check_run, complete_run, prepare_data


def resolve_site(site: SiteConfig) -> SiteConfig:
    """The site with absolute addresses, for processes that run in other folders."""
    parents = Store(site.parents).uri if site.parents else ""
    return replace(site, corpus=Store(site.corpus).uri, out=Store(site.out).uri, parents=parents)


def launch_training(run: RunConfig, site: SiteConfig, callbacks: list[Any] | None = None) -> ResultRow:
    """Train, score and write the result row of one run; a finished run is returned as it is.

    Raises ValueError for what cannot work, RuntimeError where training failed (with the cause).
    """
    launched = time.time()
    site = resolve_site(site)
    manifest = read_manifest(site.corpus)
    run = complete_run(run, manifest, run.data.size)
    check_run(run, site, manifest.vocabulary)
    data = prepare_data(run, manifest)
    id = run_id(run, data.digest)
    files = Store(site.out)
    if (finished := read_result(files, id)) is not None:
        return finished
    capacity(site, cluster_nodes())
    _fit(run, site, data, id, launched, callbacks or [])
    return _finish(run, site, data, id, launched)


def _fit(run: RunConfig, site: SiteConfig, data: RunData, id: str, launched: float, callbacks: list[Any]) -> None:
    """Run the loop on Ray Train workers, which leave their scores and rank 0's summary in the run's folder."""
    from ray.train import CheckpointConfig, FailureConfig, ScalingConfig
    from ray.train import RunConfig as RayRunConfig
    from ray.train.torch import TorchTrainer

    storage = Store(site.out).child("checkpoints")
    trainer = TorchTrainer(
        run_worker,
        train_loop_config={
            "run": run,
            "site": site,
            "run_id": id,
            "vocabulary": data.manifest.vocabulary,
            "class_counts_K": data.class_counts_K,
            "source": ray.put(data.source(site)),
            "launched": launched,
        },
        torch_config=torch_config(site.use_gpu),
        scaling_config=ScalingConfig(
            num_workers=site.workers,
            use_gpu=site.use_gpu,
            resources_per_worker={"CPU": site.cpus_per_worker, **({"GPU": 1} if site.use_gpu else {})},
        ),
        run_config=RayRunConfig(
            name=id,
            storage_path=str(storage.local_path() or storage.uri),
            failure_config=FailureConfig(max_failures=site.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            callbacks=callbacks,
        ),
    )
    trainer.fit()


def read_error(files: Store, id: str) -> str | None:
    """What ended the last attempt of a run, if a worker could say it."""
    return files.read_bytes(error_path(id)).decode() if files.exists(error_path(id)) else None


def _finish(run: RunConfig, site: SiteConfig, data: RunData, id: str, launched: float) -> ResultRow:
    """Join the ranks' scores, compute the metrics on all songs and write everything, the result row last."""
    files, folder = Store(site.out), run_folder(id)
    names = [f"{folder}/scores-{rank}.parquet" for rank in range(site.workers)]
    scores = join_scores(
        [read_scores(files, name)[0] for name in names],
        data.test_keys,
    )
    loop, outputs = json.loads(files.read_bytes(loop_path(id))), outputs_of(run.loss, data.manifest.vocabulary)
    row = ResultRow(
        run_id=id,
        model=run.model.name,
        dials=run.model.dials,
        size=run.data.size,
        seed=run.seed,
        lr=run.optim.lr,
        labels=run.data.labels,
        **outputs.metrics(scores.true_NK, scores.score_NK),
        test_songs=len(scores.keys),
        padded_songs=sum(scores.padded),
        max_steps=run.optim.max_steps,
        epochs=loop["steps"] / data.plan.train.steps_per_epoch,
        seconds_total=time.time() - launched,
        workers=site.workers,
        corpus=os.path.basename(site.corpus.rstrip("/")),
        corpus_version=data.manifest.version,
        data_digest=data.digest,
        config=science(run),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: loop[name] for name in _LOOP_FIELDS},
    )
    write_scores(files, f"{folder}/scores.parquet", scores, outputs.names)
    write_curve(files, id, loop["curve"])
    for name in (*names, loop_path(id), error_path(id), streams_path(id)):
        if files.exists(name):
            files.delete(name)
    write_result(files, row)
    return row


_LOOP_FIELDS = (
    "num_params",
    "fresh_weights",
    "val_loss",
    "best_step",
    "steps",
    "stopped_early",
    "resumed_at",
    "seconds_to_first_step",
    "seconds_training",
    "songs_per_s",
    "data_wait_share",
    "storage_retries",
    "streams",
    "bytes_read",
    "device",
    "nodes",
)
