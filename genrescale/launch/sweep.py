"""The scale sweep: model family x size x seed, with axes of learning rate and layers, as Ray Tune trials.

Each trial is a function that launches one training of its own. What is finished is known from the result rows, not
from Tune: a sweep that was interrupted, or is run again with more sizes, does only the missing runs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ray import tune

from genrescale.audio import SAMPLE_BYTES
from genrescale.config import ModelConfig, RunConfig, SiteConfig, science
from genrescale.config.sweep import SweepConfig
from genrescale.data.manifest import Manifest
from genrescale.launch.capacity import DRIVER_CPUS, capacity
from genrescale.launch.cluster import STORE_PREFIX, cluster_nodes
from genrescale.launch.compute_axis import compute_cells
from genrescale.launch.errors import error_sentence
from genrescale.launch.search.space import Values, run_with
from genrescale.launch.sweep_metrics import SweepMetrics
from genrescale.launch.trackers import tracked_settings, tracker_callbacks
from genrescale.launch.train import launch, read_error
from genrescale.launch.watch import Watch, trial_name
from genrescale.models import MODELS
from genrescale.models.own import is_own, use_own
from genrescale.results import (
    PLANNED_PATH,
    PlannedTrial,
    ResultRow,
    read_planned,
    read_result,
    run_folder,
    write_planned,
)
from genrescale.results.search import read_search
from genrescale.storage.errors import LeaseLostError, StoreError
from genrescale.storage.lease import LEASE_PATH, Claim, Lease, refuse_busy, writing
from genrescale.storage.store import Store
from genrescale.telemetry.progress import Progress
from genrescale.telemetry.recorder import recorder
from genrescale.telemetry.terminal import say
from genrescale.training.resolve import RunTicket, load_run, resolve, resolve_site
from genrescale.training.sanity import doubts

# layer counts that the axes backend_layers and frontend_layers vary; other models have none
LAYER_DIALS = {"waveform": ("backend_layers", "frontend_layers"), "spectrogram": ("backend_layers",)}


@dataclass(frozen=True)
class Trial:
    """A run of the sweep, what it reads, and the places in the report that it fills."""

    ticket: RunTicket
    planned: tuple[PlannedTrial, ...]
    clips: int
    bytes: int

    @property
    def run_id(self) -> str:
        return self.ticket.run_id

    @property
    def run(self) -> RunConfig:
        return self.ticket.run

    @property
    def label(self) -> str:
        data, optim = self.run.data, self.run.optim
        axes = "/".join(sorted({planned.axis for planned in self.planned}))
        return f"{self.run.model.name} {data.size:,} songs lr {optim.lr:g} seed {self.run.seed} ({axes})"


def check_families(sweep: SweepConfig) -> None:
    """Raises ValueError for a family that is no model."""
    named = set(sweep.families) | set(sweep.dials)
    if unknown := sorted(name for name in named - set(MODELS) if not is_own(name)):
        raise ValueError(f"families {unknown} are none of {sorted(MODELS)}")
    for name in named:
        use_own(name)


Tuned = Mapping[tuple[str, int], Values]
"""Values that a search has found for the runs of a family and size (``launch.search.run.tuned``)."""


def plan_trials(sweep: SweepConfig, site: SiteConfig, manifest: Manifest, tuned: Tuned | None = None) -> list[Trial]:
    """The sweep's runs in order, each once even where axes meet, with ``tuned`` values in place of the recipe's.

    Raises ValueError, before anything starts, for a family that is no model, a size above the corpus, and a model that
    its crops cannot feed.
    """
    check_families(sweep)
    manifest.select("train", max(sweep.sizes))
    trials: dict[str, Trial] = {}
    for axis, run, layers in _coordinates(sweep, tuned or {}, len(manifest.vocabulary)):
        trial = plan_trial(run, site, manifest, min(sweep.sizes), axis, layers)
        earlier = trials[trial.run_id].planned if trial.run_id in trials else ()
        trials[trial.run_id] = replace(trial, planned=(*earlier, *trial.planned))
    return list(trials.values())


def plan_checked(sweep: SweepConfig, site: SiteConfig, manifest: Manifest, tuned: Tuned | None = None) -> list[Trial]:
    """``plan_trials``, with what is doubtful about them said on stderr."""
    trials = plan_trials(sweep, site, manifest, tuned)
    tell_doubts([trial.run for trial in trials], manifest)
    return trials


def plan_trial(
    run: RunConfig,
    site: SiteConfig,
    manifest: Manifest,
    normalisation_size: int,
    axis: str = "grid",
    layers: dict[str, float] | None = None,
    parent_to_come: bool = False,
) -> Trial:
    """One run as a trial: its identity and what it reads in training and validation.

    With ``parent_to_come``, the run that it starts from (``init.run``) is planned too and has not finished.
    """
    resolved = resolve(run, site, manifest, normalisation_size, parent_to_come)
    ticket, data, plan = resolved.ticket, resolved.data, resolved.data.plan
    run, id = ticket.run, ticket.run_id
    planned = PlannedTrial(id, axis, run.model.name, run.data.size, run.seed, run.optim.lr, layers or {}, science(run))
    clips = sum(plan.train.num_clips(step) for step in range(plan.max_steps))
    passes = sum(plan.validates_after(step) for step in range(plan.max_steps))
    windows = passes * plan.validation.num_windows + data.test.num_windows
    return Trial(ticket, (planned,), clips, (clips + windows) * plan.train.crop_len * SAMPLE_BYTES)


def tell_doubts(runs: Sequence[RunConfig], manifest: Manifest) -> None:
    """Say on stderr, a line each, what makes the results of these runs doubtful before they are there."""
    for line in doubts(runs, manifest):
        say(f"[check] {line}", sys.stderr)


def _coordinates(sweep: SweepConfig, tuned: Tuned, num_tags: int) -> list[tuple[str, RunConfig, dict[str, float]]]:
    """(axis, run, its place on the axis) of every cell; the base value of an axis is a cell of it too."""
    cells: list[tuple[str, RunConfig, dict[str, float]]] = []

    def run(family: str, size: int, seed: int) -> RunConfig:
        return run_with(sweep_run(sweep, family, size, seed), tuned.get((family, size), {}))

    for size in sorted(sweep.sizes):
        limit = sweep.seeds_at_largest if size == max(sweep.sizes) else sweep.seeds_below_largest
        for seed in sweep.seeds[: limit or None]:
            cells += [("grid", run(family, size, seed), {}) for family in sweep.families]
    smallest, seed = min(sweep.sizes), sweep.seeds[0]
    for family in sweep.families:
        base = run(family, smallest, seed)
        if sweep.lrs:
            rates = sorted({*sweep.lrs, base.optim.lr})
            cells += [("lr", replace(base, optim=replace(base.optim, lr=rate)), {}) for rate in rates]
        for dial in LAYER_DIALS.get(family, ()):
            for count in getattr(sweep, dial):
                cells.append(("layers", _with_dial(base, dial, count), {dial: count}))
    largest = max(sweep.sizes)
    return cells + compute_cells(sweep.compute, sweep.families, lambda family: run(family, largest, seed), num_tags)


def sweep_run(sweep: SweepConfig, family: str, size: int, seed: int) -> RunConfig:
    """The run of the sweep's recipe for a family, size and seed."""
    return RunConfig(
        model=ModelConfig(family, dict(sweep.dials.get(family, {}))),
        data=replace(sweep.data, size=size),
        optim=sweep.optim,
        augment=sweep.augment,
        loss=sweep.loss,
        loss_dials=dict(sweep.loss_dials),
        precision=sweep.precision,
        seed=seed,
    )


def _with_dial(run: RunConfig, dial: str, value: int) -> RunConfig:
    return replace(run, model=ModelConfig(run.model.name, {**run.model.dials, dial: value}))


def planned_trials(trials: Sequence[Trial]) -> list[PlannedTrial]:
    """Every place in the report that the trials fill."""
    return [planned for trial in trials for planned in trial.planned]


@dataclass(frozen=True)
class SweepOutcome:
    """Finished rows by run id, the error of each run that failed for good, and the runs that an interrupt cut off."""

    rows: dict[str, ResultRow]
    failures: dict[str, str]
    unfinished: list[str]
    num_reused: int


def format_outcome(outcome: SweepOutcome) -> str:
    """How many runs finished, and the error of each that failed."""
    failed = [f"failed: run {id}: {error}" for id, error in outcome.failures.items()]
    return "\n".join([f"{len(outcome.rows)} runs, {outcome.num_reused} of them from before", *failed])


def run_sweep(trials: Sequence[Trial], site: SiteConfig) -> SweepOutcome:
    """Run what is missing of a sweep on the connected Ray cluster and record what was planned and what failed.

    Raises BusyError if another job writes to the sweep's folder, or trains one of its runs.
    """
    with writing(Store(site.out), "scale_sweep") as lease:
        return _run_sweep(trials, site, lease.claim)


def _run_sweep(trials: Sequence[Trial], site: SiteConfig, claim: Claim) -> SweepOutcome:
    write_planned(Store(site.out), planned_trials(trials))
    return train_missing(trials, site, claim)


def train_missing(
    trials: Sequence[Trial],
    site: SiteConfig,
    claim: Claim,
    failed: Mapping[str, str] | None = None,
    stage: str = "scale_sweep",
) -> SweepOutcome:
    """Run what has no result yet, and record what failed; ``failed`` are failures of trials that went before.

    ``stage`` is the name of the job in lines of progress.
    """
    files = Store(site.out)
    reused = sum(read_result(files, trial.run_id) is not None for trial in trials)
    refuse_trained(files, [trial.run_id for trial in trials])
    failures = {**(failed or {}), **run_trials(trials, site, claim, stage)}
    claim.check()
    text = json.dumps([{"run_id": id, "error": error} for id, error in failures.items()], indent=1)
    files.write_bytes("failures.json", text.encode())
    rows = {trial.run_id: row for trial in trials if (row := read_result(files, trial.run_id)) is not None}
    unfinished = [trial.run_id for trial in trials if trial.run_id not in {**rows, **failures}]
    if unfinished:
        say(f"stopped with {len(unfinished)} runs unfinished; the same command continues", sys.stderr)
    return SweepOutcome(rows, failures, unfinished, reused)


def refuse_trained(files: Store, run_ids: Sequence[str]) -> None:
    """Raise BusyError if another job trains one of these runs.

    jobs/train.py looks for the plan of a sweep, and for the ledger of its search, after it has its lease.
    """
    folders = {run_folder(id) for id in run_ids}
    for path in files.list("runs"):
        if path.endswith(f"/{LEASE_PATH}") and (folder := path.rpartition("/")[0]) in folders:
            refuse_busy(files.child(folder))


@contextmanager
def only_trainer(files: Store, run_id: str) -> Iterator[Lease]:
    """Hold the lease of one run's folder. Raises BusyError if another job trains the run, alone or in a sweep.

    Other runs may train in the same ``files``.
    """
    with writing(files.child(run_folder(run_id)), "train") as lease:
        planned = read_planned(files) if files.exists(PLANNED_PATH) else []
        if run_id in {trial.run_id for trial in [*planned, *read_search(files)]}:
            refuse_busy(files)
        yield lease


def run_trials(
    trials: Sequence[Trial], site: SiteConfig, claim: Claim | None = None, stage: str = "scale_sweep"
) -> dict[str, str]:
    """Run the trials that have no result yet, under Tune; returns the error of each that failed for good.

    ``claim`` is the right of the job to write, which every run checks before it leaves anything.
    """
    reused = {trial.run_id: row for trial in trials if (row := read_result(Store(site.out), trial.run_id)) is not None}
    missing = {trial.run_id: trial for trial in trials if trial.run_id not in reused}
    named = tune.TuneConfig(reuse_actors=True)
    space = {"run_id": tune.grid_search(list(missing)), **tracked_settings(site, missing)}
    return tune_trials(missing, site, claim, named, space, stage, reused)


def tune_trials(
    trials: dict[str, Trial],
    site: SiteConfig,
    claim: Claim | None,
    config: tune.TuneConfig,
    space: dict[str, Any],
    stage: str,
    reused: Mapping[str, ResultRow],
) -> dict[str, str]:
    """Run what ``space``, or the searcher of ``config``, names: trials of ``trials``, which a searcher may extend.

    Returns the error of each run that failed for good. A searcher gives the ticket of a run with its id. ``reused`` are
    the rows of runs that need not be run again.
    """
    site = resolve_site(site)
    files = Store(site.out)
    metrics = SweepMetrics(recorder(), trials, reused, files, scored=config.search_alg is None)
    if not trials:
        return {}
    concurrent = capacity(site, cluster_nodes()).concurrent
    tickets = {id: trial.ticket for id, trial in trials.items()}
    _keep_keys_out_of_logs()
    storage = files.child("tune")
    steps = sum(trial.run.optim.max_steps for trial in trials.values())
    with Progress(stage, steps, "steps") as progress:
        watch = Watch(trials, progress, files)
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_trial, tickets=tickets, claim=claim), {"CPU": DRIVER_CPUS}),
            param_space=space,
            tune_config=replace(
                config,
                max_concurrent_trials=concurrent if config.search_alg else min(concurrent, len(trials)),
                trial_name_creator=trial_name,
                trial_dirname_creator=trial_name,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=storage.ray_path(),
                # for trials whose own processes die, with their node; Ray Train restarts dead workers itself
                failure_config=tune.FailureConfig(max_failures=site.max_failures),
                callbacks=[watch, metrics, *tracker_callbacks(site.track, files)],
                verbose=0,
            ),
        )
        with watch.looking():
            results = tuner.fit()
    failures = {(r.config or {})["run_id"]: _failure(r) for r in results}
    return {id: read_error(files, id) or failure for id, failure in failures.items() if failure}


def _failure(result: tune.Result) -> str:
    """What a trial failed with, as its function or, where that died, Tune tells it; "" where it finished."""
    told = (result.metrics or {}).get("error", "")
    return told or (error_sentence(result.error) if result.error else "")


def _keep_keys_out_of_logs() -> None:
    """Tune would copy the keys of the object store into the ``env_vars`` of its trials, which Ray logs on every node.

    They reach the trials all the same (``genrescale.launch.cluster.connect``).
    """
    from ray.tune.execution import class_cache

    logged = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith(STORE_PREFIX)}
    class_cache.ENV_VARS_TO_PROPAGATE = class_cache.ENV_VARS_TO_PROPAGATE - logged


def _trial(config: dict[str, Any], tickets: Mapping[str, RunTicket], claim: Claim | None) -> None:
    """One trial: a training of its own, by the run's ticket, whose reports go on to Tune.

    A run that fails has been restarted by Ray Train often enough, so its error is a result. Other exceptions are
    Tune's to try again: what a node took with it when it died, a store that did not answer.
    """
    from ray.train import WorkerGroupError
    from ray.tune.integration.ray_train import TuneReportCallback

    launched = time.time()
    ticket = config.get("ticket") or tickets[config["run_id"]]
    try:
        row = launch(load_run(ticket), launched, [TuneReportCallback()], claim)
    except StoreError:
        raise
    except (WorkerGroupError, ValueError, LeaseLostError) as error:
        tune.report({"error": error_sentence(error)})
    else:
        tune.report({"step": row.steps, "val_loss": row.val_loss})
