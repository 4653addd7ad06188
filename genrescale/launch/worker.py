"""What one Ray Train worker does: stream, engine and loop put together, and what they leave in the run's folder."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import ray
import ray.train

from genrescale.data.reading.plan import score_items
from genrescale.data.stream import GroupStream
from genrescale.launch.telemetry import recording_here
from genrescale.launch.worker_job import WorkerJob, scores_path
from genrescale.models.own import use_own
from genrescale.results import write_curve, write_scores, write_summary
from genrescale.results.live import write_live
from genrescale.results.run_log import add_line
from genrescale.results.stream_stats import write_streams
from genrescale.results.weights import write_model
from genrescale.storage.store import Store
from genrescale.telemetry.metric_table import run_labels
from genrescale.training.assemble import build_loop, device_name, score_table
from genrescale.training.events import RunEvents, shown_groups
from genrescale.training.live import LiveProgress, Moment, silent
from genrescale.training.loop import Outcome, TrainingLoop
from genrescale.training.observe import Attempt
from genrescale.training.state import loop_summary


def train_and_score(job: WorkerJob, began_s: float, earlier_step: int | None = None) -> None:
    """Stream, engine and loop, put together; rank 0 tells meanwhile where it is.

    ``began_s`` is when this worker began, a time.time(); ``earlier_step`` how far an earlier attempt had come.
    """
    rank = ray.train.get_context().get_world_rank()
    labels = run_labels(job.run_id, job.run.model.name, job.run.data.size)
    with ExitStack() as stack:
        live, files = silent, Store(job.site.out)
        said = stack.enter_context(recording_here({**labels, "rank": str(rank)}))
        events = stack.enter_context(RunEvents(files, job.run_id, job.run, rank == 0 and job.site.events))
        if rank == 0:
            live = stack.enter_context(LiveProgress(partial(_write_moment, files, job.run_id, events)))
        elif said:  # a moment is what is recorded
            live = stack.enter_context(LiveProgress(lambda moment: None))
        _train_and_score(job, live, events, Attempt(began_s, earlier_step))


def _write_moment(files: Store, id: str, events: RunEvents, moment: Moment) -> None:
    """What the terminal, jobs/streams.py and TensorBoard show of a run that trains."""
    if moment.run.train_loss is not None:
        events.live(moment.run.step, moment.run.train_loss, moment.streams)
    write_live(files, id, moment.run)
    if moment.run.train_loss is not None:
        write_streams(files, id, moment.streams)


def _train_and_score(
    job: WorkerJob, live: Callable[[Callable[[], Moment]], None], events: RunEvents, attempt: Attempt
) -> None:
    """Train and score, and leave the results in the run's folder."""
    run, site, files = job.run, job.site, Store(job.site.out)
    use_own(run.model.name)
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
            write_curve(files, job.run_id, loop.state.curve)  # for the report, while the run trains
            add_line(files, job.run_id, metrics)
            events.validated(metrics, loop.state.streams)
        _report_to_ray(metrics, save)

    with checkpoint.as_directory() if checkpoint else TemporaryDirectory() as folder:
        start_step = TrainingLoop.saved_step(Path(folder)) if checkpoint else 0
        events.begin(start_step)
        groups = GroupStream(source, job.source, source.plan.items(rank, world, start_step), data_cpus)
        real_N = source.tables["train"].part_N == 0 if run.contrast.weight else None
        loop = build_loop(run, site, job.vocabulary, source.plan, report, job.class_counts_K, real_N, live, attempt)
        if checkpoint:
            loop.load(Path(folder))
    outcome = loop.train(shown_groups(groups, events.began) if rank == 0 else groups)
    groups.close()
    test_items = list(score_items(source.test, rank, world))
    scores = loop.score_best(source.test, test_items, GroupStream(source, job.source, iter(test_items), data_cpus))
    loop.observer.ends()
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
