"""What one Ray Train worker does: stream, engine and loop put together, and what they leave in the run's folder."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
import ray.train

from genrescale.config import RunConfig, SiteConfig
from genrescale.data.reading.plan import score_items
from genrescale.data.reading.source import StreamSource
from genrescale.data.stream import GroupStream
from genrescale.results import run_folder, write_scores
from genrescale.results.stream_stats import write_streams
from genrescale.results.weights import write_model
from genrescale.storage.store import Store
from genrescale.training.assemble import build_loop, device_name, score_table
from genrescale.training.loop import TrainingLoop
from genrescale.training.schedules import loop_summary

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


def _report_to_ray(metrics: dict[str, float | None], save: Callable[[Path], None]) -> None:
    with TemporaryDirectory(prefix="genrescale-checkpoint-") as folder:
        save(Path(folder))
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
