"""launch_training(): one run, from a sharded corpus to a result row, on Ray Train around the training loop."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import ray

from genrescale.audio import seconds_to_len
from genrescale.config import RunConfig, SiteConfig, science
from genrescale.config.metrics import ROW_METRICS
from genrescale.data.manifest import read_manifest
from genrescale.launch.capacity import capacity
from genrescale.launch.cluster import cluster_nodes
from genrescale.launch.process_group import process_group
from genrescale.launch.worker_job import WorkerJob, error_path, run_worker, scores_path, trace_path
from genrescale.results import (
    ResultRow,
    ScoreTable,
    join_scores,
    read_result,
    read_scores,
    read_summary,
    run_folder,
    summary_path,
    write_result,
    write_scores,
)
from genrescale.results.live import live_path
from genrescale.results.stream_stats import streams_path
from genrescale.storage.lease import Claim
from genrescale.storage.store import Store
from genrescale.training.events import RunEvents, shown_name
from genrescale.training.outputs import outputs_of
from genrescale.training.resolve import ResolvedRun, resolve


def launch_training(run: RunConfig, site: SiteConfig, callbacks: list[Any] | None = None) -> ResultRow:
    """Resolve one run, train and score it, and write its result row; a finished run is returned as it is.

    Raises ValueError for what cannot work, RuntimeError where training failed (with the cause).
    """
    launched = time.time()
    return launch(resolve(run, site, read_manifest(Store(site.corpus).uri)), launched, callbacks)


def launch(
    resolved: ResolvedRun, launched: float, callbacks: list[Any] | None = None, claim: Claim | None = None
) -> ResultRow:
    """``launch_training`` of a run that is resolved. ``launched`` is when the caller began, a time.time().

    Raises LeaseLostError if the job that has ``claim`` to write lost it, before anything of another job is overwritten.
    """
    ticket = resolved.ticket
    if (finished := read_result(Store(ticket.site.out), ticket.run_id)) is not None:
        return finished
    capacity(ticket.site, cluster_nodes())
    _fit(resolved, launched, callbacks or [], claim)
    if claim is not None:
        claim.check()
    return finish_run(resolved, launched)


def _fit(resolved: ResolvedRun, launched: float, callbacks: list[Any], claim: Claim | None) -> None:
    """Run the loop on Ray Train workers, which leave their scores and rank 0's summary in the run's folder."""
    from ray.train import CheckpointConfig, FailureConfig, ScalingConfig
    from ray.train import RunConfig as RayRunConfig
    from ray.train.torch import TorchTrainer

    from genrescale.launch.named_controller import named_controllers

    ticket, data = resolved.ticket, resolved.data
    site = ticket.site
    storage = Store(site.out).child(f"checkpoints/{ticket.run_id}")
    job = WorkerJob(
        ticket.run,
        site,
        ticket.run_id,
        data.manifest.vocabulary,
        data.class_counts_K,
        ray.put(data.source(site)),
        launched,
        claim,
    )
    trainer = TorchTrainer(
        run_worker,
        train_loop_config={"job": job},
        torch_config=process_group(site.use_gpu),  # type: ignore[arg-type]  # any BackendConfig will do
        scaling_config=ScalingConfig(
            num_workers=site.workers,
            use_gpu=site.use_gpu,
            resources_per_worker={"CPU": site.cpus_per_worker, **({"GPU": 1} if site.use_gpu else {})},
        ),
        run_config=RayRunConfig(
            name=f"{shown_name(ticket.run)}-{ticket.run_id[:8]}",  # Ray's dashboard shows it
            storage_path=storage.ray_path(),
            failure_config=FailureConfig(max_failures=site.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            callbacks=callbacks,
        ),
    )
    with named_controllers():
        trainer.fit()


def read_error(files: Store, id: str) -> str | None:
    """What ended the last attempt of a run, if a worker could say it."""
    return files.read_bytes(error_path(id)).decode() if files.exists(error_path(id)) else None


def finish_run(resolved: ResolvedRun, launched: float) -> ResultRow:
    """Join the ranks' scores, compute the metrics on all songs and write everything, the result row last."""
    ticket, data = resolved.ticket, resolved.data
    run, site, id = ticket.run, ticket.site, ticket.run_id
    files = Store(site.out)
    parts = [scores_path(id, rank) for rank in range(site.workers)]
    scores = join_scores([read_scores(files, path)[0] for path in parts], data.test_keys)
    summary, outputs = read_summary(files, id), outputs_of(run.loss, data.manifest.vocabulary)
    row = ResultRow(
        **asdict(summary),
        **outputs.metrics(scores.true_NK, scores.score_NK),
        run_id=id,
        model=run.model.name,
        dials=run.model.dials,
        size=run.data.size,
        seed=run.seed,
        lr=run.optim.lr,
        labels=run.data.labels,
        test_songs=len(scores.keys),
        padded_songs=sum(scores.padded),
        max_steps=run.optim.max_steps,
        epochs=summary.steps / data.plan.train.steps_per_epoch,
        seconds_total=time.time() - launched,
        workers=site.workers,
        corpus=os.path.basename(site.corpus.rstrip("/")),
        corpus_version=data.manifest.version,
        data_digest=data.digest,
        config=science(run),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=ticket.code_version,
    )
    write_scores(files, f"{run_folder(id)}/scores.parquet", scores, outputs.names)
    for path in (*parts, summary_path(id), error_path(id), trace_path(id), streams_path(id), live_path(id)):
        if files.exists(path):
            files.delete(path)
    _write_events(resolved, row, scores)
    write_result(files, row)
    return row


def _write_events(resolved: ResolvedRun, row: ResultRow, scores: ScoreTable) -> None:
    """What the test songs say, for TensorBoard."""
    ticket, data = resolved.ticket, resolved.data
    if not ticket.site.events:
        return
    from genrescale.data.reading.crops import SongTable, read_crops

    def read_song(song: int, seconds: float) -> np.ndarray:
        table = SongTable.of(data.manifest, data.rows["test"][[song]])
        return read_crops(table, np.array([0]), np.array([0]), min(seconds_to_len(seconds), int(table.len_N[0])))[0]

    metrics = {name: getattr(row, name) for name in ROW_METRICS}
    with RunEvents(Store(ticket.site.out), ticket.run_id, ticket.run) as events:
        events.outcome(row.steps, metrics, scores, data.manifest.vocabulary, read_song)
