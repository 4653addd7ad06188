"""One run put together in a process: model, loss, engine and loop from its configs. No Ray."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from genrescale.audio import Vocabulary
from genrescale.config import RunConfig, SiteConfig
from genrescale.config.spec_augment import parse_spec_augment
from genrescale.data.reading.crops import SongTable
from genrescale.data.reading.plan import RunPlan
from genrescale.data.reading.source import read_tasks
from genrescale.losses import OUTPUT_PRIOR, build_loss
from genrescale.models import build_model
from genrescale.models.parts.head import set_output_prior
from genrescale.models.parts.spec_augment import put_spec_augment
from genrescale.results import ScoreTable
from genrescale.results.weights import model_path, read_weights
from genrescale.storage.store import Store
from genrescale.telemetry.recorder import recorder
from genrescale.training.checks import heads_match, parents_store
from genrescale.training.contrast import Contrast
from genrescale.training.engine import Engine, initialise_process
from genrescale.training.flops import clip_flops, device_flops_per_s
from genrescale.training.live import Moment, silent
from genrescale.training.loop import SongScores, TrainingLoop
from genrescale.training.observe import Attempt, RunObserver
from genrescale.training.parameters import fit_weights, transfer
from genrescale.training.step_clock import step_clock


def build_loop(
    run: RunConfig,
    site: SiteConfig,
    vocabulary: Vocabulary,
    plan: RunPlan,
    report: Callable[..., None],
    class_counts_K: np.ndarray | None = None,
    real_N: np.ndarray | None = None,
    live: Callable[[Callable[[], Moment]], None] = silent,
    attempt: Attempt | None = None,
) -> TrainingLoop:
    """The loop with its model, loss and engine, in an initialised process group.

    ``class_counts_K`` are the training songs of each tag, for the losses that weigh tags by them; ``real_N`` says which
    training songs are real, for contrastive training; ``live`` hears of it between validations. ``attempt`` is for the
    process's recorder, if it has one.
    """
    device, num_tags = initialise_process(site.use_gpu, site.threads, run.seed), len(vocabulary)
    model = build_model(run.model.name, num_tags, **run.model.dials)
    if run.loss in OUTPUT_PRIOR:
        set_output_prior(model, num_tags, OUTPUT_PRIOR[run.loss])
    fresh = start_from_parent(model, run, parents_store(site), vocabulary) if run.init.run else []
    if run.augment.spec_augment != "none":
        put_spec_augment(model, parse_spec_augment(run.augment.spec_augment))
    loss = build_loss(run.loss, vocabulary, class_counts_K, run.data.size, **run.loss_dials)
    # counted before the engine, which may divide the weights over the ranks
    flops = clip_flops(model, plan.train.crop_len) if recorder() else 0.0
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
    observer = _observer(run, plan, engine, attempt or Attempt(), flops)
    return TrainingLoop(run, vocabulary, plan, engine, loss, report, tasks, fresh, real_N, live, observer)


def _observer(run: RunConfig, plan: RunPlan, engine: Engine, attempt: Attempt, flops: float) -> RunObserver | None:
    """What tells the process's recorder of the run; None where it has none."""
    if not (said := recorder()):
        return None
    rate = device_flops_per_s(engine.device, run.precision) if engine.rank == 0 else 0.0
    clock = step_clock(engine.device)
    return RunObserver(said, plan, engine.rank, engine.world_size, engine.device, clock, attempt, flops, rate)


def start_from_parent(model: nn.Module, run: RunConfig, parents: Store, vocabulary: Vocabulary) -> list[str]:
    """Put the weights of the run's parent into ``model``; returns the names of those that it did not give."""
    weights, header = read_weights(parents, model_path(run.init.run))
    weights = fit_weights(model, weights, header.dials)
    return transfer(model, weights, run.init.take, len(vocabulary), heads_match(run, header, vocabulary))


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def score_table(scores: SongScores, table: SongTable, crop_len: int) -> ScoreTable:
    """Scores by row as a table by key."""
    return ScoreTable(
        keys=table.keys.take(scores.songs_N).to_pylist(),
        num_windows=scores.windows_N.tolist(),
        padded=(table.len_N[scores.songs_N] < crop_len).tolist(),
        true_NK=scores.true_NK,
        score_NK=scores.score_NK,
    )
