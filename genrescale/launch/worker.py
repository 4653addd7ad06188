"""What one Ray Train worker does: stream, engine and loop put together, and what they leave in the run's folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import ray
import ray.train

from genrescale.audio import Vocabulary
from genrescale.config import RunConfig, SiteConfig
from genrescale.data.reading.plan import score_items
from genrescale.data.reading.source import StreamSource
from genrescale.data.stream import GroupStream
from genrescale.launch.errors import error_sentence
from genrescale.results import run_folder, write_curve, write_scores, write_summary
from genrescale.results.live import live_path, write_live
from genrescale.results.stream_stats import write_streams
from genrescale.results.weights import write_model
from genrescale.storage.lease import Claim
from genrescale.storage.store import Store
from genrescale.training.assemble import build_loop, device_name, score_table
from genrescale.training.live import LiveReport, Moment, silent
from genrescale.training.loop import Outcome, TrainingLoop
from genrescale.training.state import loop_summary


@dataclass(frozen=True, eq=False)
class WorkerJob:
    """What the driver hands to every worker of a run.

    ``class_counts_K`` are the training songs of each tag; ``source`` is in Ray's object store, for the read tasks too;
    ``launched`` is when the driver began, a time.time(). ``claim`` is the right of the job to write, checked at the
    start, before every checkpoint and before the scores.
    """

    run: RunConfig
    site: SiteConfig
    run_id: str
    vocabulary: Vocabulary
    class_counts_K: np.ndarray
    source: ray.ObjectRef[StreamSource]
    launched: float
    claim: Claim | None = None


def run_worker(config: dict[str, Any]) -> None:
    """One Ray Train worker, on the WorkerJob in ``config["job"]``: Ray Train hands over dicts only.

    What ends it is written down here, where the error is at hand: Ray Train hands on its text, cut in the middle.
    """
    job: WorkerJob = config["job"]
    files, path = Store(job.site.out), error_path(job.run_id)
    leads = ray.train.get_context().get_world_rank() == 0
    for earlier in (path, live_path(job.run_id)) if leads else ():  # of an earlier attempt
        if files.exists(earlier):
            files.delete(earlier)
    try:
        with ExitStack() as stack:
            live = stack.enter_context(LiveReport(partial(_write_moment, files, job.run_id))) if leads else silent
            _train_and_score(job, live)
    except Exception as error:
        if not files.exists(path):  # the first is the cause: the other workers only lose their connection
            files.write_bytes(path, error_sentence(error).encode())
        raise


def error_path(id: str) -> str:
    return f"{run_folder(id)}/error.txt"


def scores_path(id: str, rank: int) -> str:
    """One worker's part of a run's score table."""
    return f"{run_folder(id)}/scores-{rank}.parquet"


def _write_moment(files: Store, id: str, moment: Moment) -> None:
    """What the terminal and jobs/streams.py show of a run that trains."""
    write_live(files, id, moment.run)
    if moment.run.train_loss is not None:
        write_streams(files, id, moment.streams)


def _train_and_score(job: WorkerJob, live: Callable[[Callable[[], Moment]], None]) -> None:
    """Stream, engine and loop, put together."""
    run, site, files = job.run, job.site, Store(job.site.out)
    if job.claim is not None:
        job.claim.check()
    source = ray.get(job.source)
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    data_cpus = site.data_cpus / world
    checkpoint = ray.train.get_checkpoint()

    def report(metrics: dict[str, float | None], save: Callable[[Path], None]) -> None:
        if job.claim is not None:
            job.claim.check()
        if rank == 0:
            write_streams(files, job.run_id, loop.state.streams)
        _report_to_ray(metrics, save)

    with checkpoint.as_directory() if checkpoint else TemporaryDirectory() as folder:
        start_step = TrainingLoop.saved_step(Path(folder)) if checkpoint else 0
        groups = GroupStream(source, job.source, source.plan.items(rank, world, start_step), data_cpus)
        real_N = source.tables["train"].part_N == 0 if run.contrast.weight else None
        loop = build_loop(run, site, job.vocabulary, source.plan, report, job.class_counts_K, real_N, live)
        if checkpoint:
            loop.load(Path(folder))
    outcome = loop.train(groups)
    groups.close()
    test_items = list(score_items(source.test, rank, world))
    scores = loop.score_best(source.test, test_items, GroupStream(source, job.source, iter(test_items), data_cpus))
    if job.claim is not None:
        job.claim.check()
    table = score_table(scores, source.tables["test"], source.crop_len)
    write_scores(files, scores_path(job.run_id, rank), table, loop.outputs.names)
    nodes = len(set(loop.engine.gather(context.get_node_rank())))
    if rank == 0:
        _leave(job, loop, outcome, nodes)


def _leave(job: WorkerJob, loop: TrainingLoop, outcome: Outcome, nodes: int) -> None:
    """Rank 0's files in the run's folder: weights, curve and, for the result row, what the workers measured.

    Not as a last report: Ray Train's result is that of the last checkpoint.
    """
    files = Store(job.site.out)
    write_model(files, job.run_id, job.run, loop.outputs.tags, loop.best_weights)
    write_curve(files, job.run_id, outcome.state.curve)
    summary = loop_summary(
        outcome.state,
        seconds_to_first_step=outcome.first_step_at - job.launched,
        num_params=loop.engine.num_params,
        fresh_weights=loop.fresh_weights,
        device=device_name(loop.engine.device),
        nodes=nodes,
    )
    write_summary(files, job.run_id, summary)


def _report_to_ray(metrics: dict[str, float | None], save: Callable[[Path], None]) -> None:
    with TemporaryDirectory(prefix="genrescale-checkpoint-") as folder:
        save(Path(folder))
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
