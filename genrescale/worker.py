"""What one Ray Train worker does: stream, engine and loop put together, and what they leave in the run's folder."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import ray
import ray.train
import torch
from torch import nn

from genrescale.audio import Vocabulary
from genrescale.config import RunConfig, SiteConfig
from genrescale.contrast import Contrast
from genrescale.data.crops import SongTable
from genrescale.data.plan import RunPlan, score_items
from genrescale.data.source import StreamSource
from genrescale.data.store import Store
from genrescale.data.stream import GroupStream, read_tasks
from genrescale.engine import Engine, initialise_process
from genrescale.loop import SongScores, TrainingLoop
from genrescale.losses import OUTPUT_PRIOR, build_loss
from genrescale.models import build_model
from genrescale.models.head import set_output_prior
from genrescale.models.spec_augment import put_spec_augment
from genrescale.parameters import fit_weights, transfer
from genrescale.prepare import heads_match, parents_store
from genrescale.results import ScoreTable, run_folder, write_scores
from genrescale.schedules import loop_summary
from genrescale.spec_masks import parse_spec_augment
from genrescale.streams import write_streams
from genrescale.weights import model_path, read_weights, write_model

_ERROR_LINE = re.compile(r"^((?:\w+\.)*)(\w+Error): (.+)$", re.MULTILINE)


def loop_path(id: str) -> str:
    return f"{run_folder(id)}/loop.json"


def run_worker(config: dict[str, Any]) -> None:
    """One Ray Train worker. What ends it is written down whole: Ray Train cuts the middle out of long errors."""
    files, path = Store(config["site"].out), error_path(config["run_id"])
    if ray.train.get_context().get_world_rank() == 0 and files.exists(path):
        files.delete(path)  # of an earlier attempt
    try:
        _train_and_score(config)
    except Exception as error:
        if not files.exists(path):  # the first is the cause: the other workers only lose their connection
            files.write_bytes(path, error_sentence("".join(traceback.format_exception(error))).encode())
        raise


def error_path(id: str) -> str:
    return f"{run_folder(id)}/error.txt"


def error_sentence(trace: str) -> str:
    """The sentence that names the thing, out of the traces of the processes that an error came through."""
    found = [f"{name}: {text}" for module, name, text in _ERROR_LINE.findall(trace) if not module.startswith("ray.")]
    return (found or [line for line in trace.splitlines() if line.strip()] or ["no reason was given"])[-1].strip()


def _train_and_score(config: dict[str, Any]) -> None:
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
        groups = GroupStream(source, config["source"], items, data_cpus)
        real_N = source.tables["train"].part_N == 0 if run.contrast.weight else None
        loop = build_loop(run, site, config["vocabulary"], source.plan, report, config["class_counts_K"], real_N)
        if checkpoint:
            loop.load(Path(folder))
    outcome = loop.train(groups)
    groups.close()
    test_items = list(score_items(source.test, rank, world))
    test_groups = GroupStream(source, config["source"], iter(test_items), data_cpus)
    scores = loop.score_best(source.test, test_items, test_groups)
    table = score_table(scores, source.tables["test"], source.crop_len)
    path = f"{run_folder(config['run_id'])}/scores-{rank}.parquet"
    write_scores(Store(site.out), path, table, loop.outputs.names)
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
        write_model(Store(site.out), config["run_id"], run, loop.outputs.tags, loop.best_weights)
        # Not as a last report: Ray Train's result is that of the last checkpoint.
        Store(site.out).write_bytes(loop_path(config["run_id"]), json.dumps(summary).encode())


def build_loop(
    run: RunConfig,
    site: SiteConfig,
    vocabulary: Vocabulary,
    plan: RunPlan,
    report: Callable[..., None],
    class_counts_K: np.ndarray | None = None,
    real_N: np.ndarray | None = None,
) -> TrainingLoop:
    """The loop with its model, loss and engine, in an initialised process group.

    ``class_counts_K`` are the training songs of each tag, for the losses that weigh tags by them; ``real_N`` says which
    training songs are real, for contrastive training.
    """
    device, num_tags = initialise_process(site.use_gpu, site.threads, run.seed), len(vocabulary)
    model = build_model(run.model.name, num_tags, **run.model.dials)
    if run.loss in OUTPUT_PRIOR:
        set_output_prior(model, num_tags, OUTPUT_PRIOR[run.loss])
    fresh = start_from_parent(model, run, parents_store(site), vocabulary) if run.init.run else []
    if run.augment.spec_augment != "none":
        put_spec_augment(model, parse_spec_augment(run.augment.spec_augment))
    loss = build_loss(run.loss, vocabulary, class_counts_K, run.data.size, **run.loss_dials)
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
        num_tags=num_tags,
        contrast=Contrast(model, num_tags, run.contrast) if run.contrast.weight else None,
    )
    tasks = read_tasks(site.data_cpus / engine.world_size)
    return TrainingLoop(run, vocabulary, plan, engine, loss, report, tasks, fresh, real_N)


def start_from_parent(model: nn.Module, run: RunConfig, parents: Store, vocabulary: Vocabulary) -> list[str]:
    """Put the weights of the run's parent into ``model``; returns the names of those that it did not give."""
    weights, header = read_weights(parents, model_path(run.init.run))
    weights = fit_weights(model, weights, header.dials)
    return transfer(model, weights, run.init.take, len(vocabulary), heads_match(run, header, vocabulary))


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
