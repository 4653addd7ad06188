"""The trials of a sweep before they start: what each is, costs and reads, and the hours and memory of all."""

from __future__ import annotations

import io
import os
import shutil
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from genrescale.config import SiteConfig
from genrescale.launch.capacity import Node, capacity
from genrescale.launch.cluster import cluster_nodes
from genrescale.launch.estimate import estimate_text
from genrescale.launch.sweep import Trial
from genrescale.models import changed_dials
from genrescale.results import read_result
from genrescale.storage.store import Store
from genrescale.telemetry.terminal import say
from genrescale.training.resolve import load_run

TRIALS_WIDTH = 200  # characters of the list of trials, so that no cell is cut
_FORETOLD_CLIPS = 100_000  # some minutes of training


def format_trials(trials: Sequence[Trial], site: SiteConfig, nodes: Sequence[Node]) -> str:
    """The trials of a sweep before it starts: what each is, costs and reads."""
    files, room = Store(site.out), capacity(site, nodes)
    table = Table(
        title=f"{len(trials)} runs, {room.concurrent} at a time: each takes {room.trial_cpus:g} CPUs and "
        f"{room.trial_gpus} GPUs; in all {sum(t.clips for t in trials):,} crops, "
        f"{sum(t.bytes for t in trials) / 1e9:,.1f} GB of audio"
    )
    for name in ("run", "axis", "model", "songs", "seed", "lr", "dials", "steps", "crops", "GB", "state"):
        table.add_column(name, justify="right" if name in ("songs", "lr", "steps", "crops", "GB") else "left")
    for trial in trials:
        run, done = trial.run, read_result(files, trial.run_id) is not None
        dials = changed_dials(run.model.name, run.model.dials)
        axes = " ".join(planned.axis for planned in trial.planned)
        numbers = (f"{run.optim.max_steps:,}", f"{trial.clips:,}", f"{trial.bytes / 1e9:.2f}")
        row = (trial.run_id, axes, run.model.name, f"{run.data.size:,}", str(run.seed), f"{run.optim.lr:g}", dials)
        table.add_row(*row, *numbers, "finished" if done else "to run")
    sink = io.StringIO()
    Console(
        file=sink, width=max(TRIALS_WIDTH, shutil.get_terminal_size().columns), highlight=False, markup=False
    ).print(table)
    return sink.getvalue() + _estimate(trials, site, nodes)


def _estimate(trials: Sequence[Trial], site: SiteConfig, nodes: Sequence[Node]) -> str:
    here = "RAY_ADDRESS" not in os.environ
    gpu_here = here and any(node.get("GPU", 0) for node in nodes)
    memory_here = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) if here and not site.use_gpu else 0.0
    data = load_run(trials[0].ticket).data
    num_tags, num_test = len(data.manifest.vocabulary), len(data.rows["test"])
    concurrent = capacity(site, nodes).concurrent
    return estimate_text(trials, site, num_tags, num_test, concurrent, gpu_here, memory_here)


def foretell(trials: Sequence[Trial], site: SiteConfig) -> None:
    """Say on stderr how long much work takes, and what memory, before it starts on the connected cluster.

    For little work it is not worth the seconds that it takes to measure.
    """
    files = Store(site.out)
    left = [trial for trial in trials if read_result(files, trial.run_id) is None]
    if sum(trial.clips for trial in left) >= _FORETOLD_CLIPS:
        for line in _estimate(left, site, cluster_nodes()).splitlines():
            say(f"[check] {line.removeprefix('[check] ')}", sys.stderr)
