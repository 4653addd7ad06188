"""launch_training(): one run, from a sharded corpus to a result row, on Ray Train around the training loop."""

from __future__ import annotations

import json
import os
import re
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
import ray.train
import torch
from torch import nn

from genrescale.audio import Vocabulary
from genrescale.capacity import capacity
from genrescale.cluster import cluster_nodes
from genrescale.config import RunConfig, SiteConfig, run_id
from genrescale.contrast import Contrast, real_songs
from genrescale.data.crops import SongTable
from genrescale.data.manifest import read_manifest
from genrescale.data.plan import RunPlan, score_items
from genrescale.data.source import StreamSource
from genrescale.data.store import Store
from genrescale.data.stream import group_stream, read_tasks
from genrescale.engine import Engine, initialise_process
from genrescale.exported import read_header, read_weights, write_model
from genrescale.loop import SongScores, TrainingLoop
from genrescale.losses import build_loss
from genrescale.metrics import score
from genrescale.models import build_model
from genrescale.parameters import transfer
from genrescale.prepare import RunData, check_run, complete_run, parents_store, prepare_data
from genrescale.results import (
    ResultRow,
    ScoreTable,
    join_scores,
    read_result,
    read_scores,
    run_folder,
    write_curve,
    write_result,
    write_scores,
)
from genrescale.schedules import loop_summary
from genrescale.streams import streams_path, write_streams


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
    from ray.train.torch import TorchConfig, TorchTrainer

    storage = Store(site.out).child("checkpoints")
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "run": run,
            "site": site,
            "run_id": id,
            "vocabulary": data.manifest.vocabulary,
            "source": ray.put(data.source(site.storage_patience_s)),
            "launched": launched,
        },
        torch_config=TorchConfig(backend="nccl" if site.use_gpu else "gloo"),
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


def _loop_path(id: str) -> str:
    return f"{run_folder(id)}/loop.json"


def _worker(config: dict[str, Any]) -> None:
    """One Ray Train worker. What ends it is written down whole: Ray Train cuts the middle out of long errors."""
    files, path = Store(config["site"].out), _error_path(config["run_id"])
    if ray.train.get_context().get_world_rank() == 0 and files.exists(path):
        files.delete(path)  # of an earlier attempt
    try:
        _run_worker(config)
    except Exception as error:
        if not files.exists(path):  # the first is the cause: the other workers only lose their connection
            files.write_bytes(path, error_sentence("".join(traceback.format_exception(error))).encode())
        raise


def _error_path(id: str) -> str:
    return f"{run_folder(id)}/error.txt"


def read_error(files: Store, id: str) -> str | None:
    """What ended the last attempt of a run, if a worker could say it."""
    return files.read_bytes(_error_path(id)).decode() if files.exists(_error_path(id)) else None


_ERROR_LINE = re.compile(r"^((?:\w+\.)*)(\w+Error): (.+)$", re.MULTILINE)


def error_sentence(trace: str) -> str:
    """The sentence that names the thing, out of the traces of the processes that an error came through."""
    found = [f"{name}: {text}" for module, name, text in _ERROR_LINE.findall(trace) if not module.startswith("ray.")]
    return (found or [line for line in trace.splitlines() if line.strip()] or ["no reason was given"])[-1].strip()


def _run_worker(config: dict[str, Any]) -> None:
    """Stream, engine and loop, put together."""
    run: RunConfig = config["run"]
    site: SiteConfig = config["site"]
    source: StreamSource = ray.get(config["source"])
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    data_cpus = site.data_cpus / world
    checkpoint = ray.train.get_checkpoint()

    def report(metrics: dict[str, float | None], save: Callable[[Path], None]) -> None:
        if rank == 0:
            write_streams(Store(site.out), config["run_id"], loop.progress.streams)
        _report_to_ray(metrics, save)

    with checkpoint.as_directory() if checkpoint else TemporaryDirectory() as folder:
        start_step = TrainingLoop.saved_step(Path(folder)) if checkpoint else 0
        items = source.plan.items(rank, world, start_step)
        groups = group_stream(source, config["source"], items, data_cpus)
        loop = build_loop(run, site, config["vocabulary"], source.plan, report, source.tables["train"].keys.to_pylist())
        if checkpoint:
            loop.load(Path(folder))
    outcome = loop.train(groups)
    groups.close()
    test_items = list(score_items(source.test, rank, world))
    test_groups = group_stream(source, config["source"], iter(test_items), data_cpus)
    scores = loop.score_best(source.test, test_items, test_groups)
    table = score_table(scores, source.tables["test"], source.crop_len)
    path = f"{run_folder(config['run_id'])}/scores-{rank}.parquet"
    write_scores(Store(site.out), path, table, config["vocabulary"].names)
    summary = {
        **loop_summary(outcome.progress),
        "seconds_to_first_step": outcome.first_step_at - config["launched"],
        "num_params": loop.engine.num_params,
        "fresh_weights": loop.fresh_weights,
        "device": device_name(loop.engine.device),
        "nodes": len(set(loop.engine.gather(context.get_node_rank()))),
        "curve": outcome.progress.curve,
    }
    if rank == 0:
        write_model(Store(site.out), config["run_id"], run, config["vocabulary"].names, loop.best_weights)
        # Not as a last report: Ray Train's result is that of the last checkpoint.
        Store(site.out).write_bytes(_loop_path(config["run_id"]), json.dumps(summary).encode())


def build_loop(
    run: RunConfig,
    site: SiteConfig,
    vocabulary: Vocabulary,
    plan: RunPlan,
    report: Callable[..., None],
    train_keys: Sequence[str] = (),
) -> TrainingLoop:
    """The loop with its model, loss and engine, in an initialised process group.

    ``train_keys`` are those of the train songs, by which contrastive training knows the real ones.
    """
    device = initialise_process(site.use_gpu, site.threads, run.seed)
    model = build_model(run.model.name, len(vocabulary), **run.model.dials)
    fresh: list[str] = []
    if run.init.run:
        fresh = start_from_parent(model, run, parents_store(site), vocabulary)
    loss = build_loss(run.loss, vocabulary)
    adapts = run.contrast.weight > 0
    engine = Engine(
        model,
        loss,
        run.optim,
        run.augment,
        device,
        precision=run.precision,
        zero_stage=site.zero_stage,
        seed=run.seed,
        group=run.data.group,
        groups_per_step=run.data.batch // run.data.group,
        num_tags=len(vocabulary),
        contrast=Contrast(model, len(vocabulary), run.contrast) if adapts else None,
    )
    tasks = read_tasks(site.data_cpus / engine.world_size)
    real_N = real_songs(train_keys, run.contrast.real) if adapts else None
    return TrainingLoop(run, vocabulary, plan, engine, loss, report, tasks, fresh, real_N)


def start_from_parent(model: nn.Module, run: RunConfig, parents: Store, vocabulary: Vocabulary) -> list[str]:
    """Put the weights of the run's parent into ``model``; returns the names of those that it did not give."""
    same_tags = read_header(parents, run.init.run).tags == vocabulary.names
    return transfer(model, read_weights(parents, run.init.run), run.init.take, len(vocabulary), same_tags)


def _report_to_ray(metrics: dict[str, float | None], save: Callable[[Path], None]) -> None:
    with TemporaryDirectory(prefix="genrescale-checkpoint-") as folder:
        save(Path(folder))
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def score_table(scores: SongScores, table: SongTable, crop_len: int) -> ScoreTable:
    """Scores by row as a table by key."""
    return ScoreTable(
        keys=table.keys.take(scores.songs_N).to_pylist(),
        num_crops=scores.windows_N.tolist(),
        padded=(table.len_N[scores.songs_N] < crop_len).tolist(),
        true_NK=scores.true_NK,
        score_NK=scores.score_NK,
    )


def _finish(run: RunConfig, site: SiteConfig, data: RunData, id: str, launched: float) -> ResultRow:
    """Join the ranks' scores, compute the metrics on all songs and write everything, the result row last."""
    files, folder = Store(site.out), run_folder(id)
    names = [f"{folder}/scores-{rank}.parquet" for rank in range(site.workers)]
    scores = join_scores(
        [read_scores(files, name)[0] for name in names],
        data.test_keys,
    )
    loop = json.loads(files.read_bytes(_loop_path(id)))
    row = ResultRow(
        run_id=id,
        model=run.model.name,
        dials=run.model.dials,
        size=run.data.size,
        seed=run.seed,
        lr=run.optim.lr,
        labels=run.data.labels,
        **score(scores.true_NK, scores.score_NK, data.manifest.vocabulary),
        test_songs=len(scores.keys),
        padded_songs=sum(scores.padded),
        max_steps=run.optim.max_steps,
        epochs=loop["steps"] / data.plan.train.steps_per_epoch,
        seconds_total=time.time() - launched,
        workers=site.workers,
        corpus=os.path.basename(site.corpus.rstrip("/")),
        corpus_version=data.manifest.version,
        data_digest=data.digest,
        config=asdict(run),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: loop[name] for name in _LOOP_FIELDS},
    )
    write_scores(files, f"{folder}/scores.parquet", scores, data.manifest.vocabulary.names)
    write_curve(files, id, loop["curve"])
    for name in (*names, _loop_path(id), _error_path(id), streams_path(id)):
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
