"""The hours, disk and memory that a sweep will take, told before it starts: from its earlier runs, or measured here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from genrescale.audio import SAMPLE_BYTES, seconds_to_len
from genrescale.config import RunConfig, SiteConfig
from genrescale.config.losses import PRETEXT
from genrescale.results import ResultRow, read_sound_results
from genrescale.storage.store import Store
from genrescale.telemetry.progress import format_duration
from genrescale.training.measure import StepCost, measure_step

START_S = 40.0  # the processes of a run, and their imports, on two cores (benchmarks/LOG.md)
SCORING = 3.0  # windows are scored so many times as fast as clips are trained
LIBRARIES = 1e9  # bytes of a worker's PyTorch, Ray and read tasks
_ROW_BYTES = 12  # of a label and a score in a score table


class Planned(Protocol):
    """What the estimate needs of a trial."""

    @property
    def run_id(self) -> str: ...
    @property
    def run(self) -> RunConfig: ...
    @property
    def clips(self) -> int: ...
    @property
    def bytes(self) -> int: ...


@dataclass(frozen=True)
class Rate:
    """Training clips per second of a model's runs, the seconds that each takes besides, and where both are from."""

    clips_per_s: float
    start_s: float
    source: str
    cost: StepCost | None = None


def estimate_text(
    trials: Sequence[Planned],
    site: SiteConfig,
    num_tags: int,
    num_test: int,
    concurrent: int,
    gpu_here: bool,
    memory_here: float = 0.0,
) -> str:
    """A sentence for each of time, disk and memory; where a rate cannot be told here, why.

    ``memory_here`` are the bytes of the machine that trains, 0 if they are not known.
    """
    rows = read_sound_results(Store(site.out))[0]
    missing = [trial for trial in trials if trial.run_id not in rows]
    if not missing:
        return "All runs have finished."
    rates: dict[str, Rate] = {}
    for trial in missing:
        name = trial.run.model.name
        if name not in rates and (rate := _rate(trial.run, rows, site, num_tags, gpu_here)):
            rates[name] = rate
    if unknown := sorted({trial.run.model.name for trial in missing} - set(rates)):
        return f"How long {', '.join(unknown)} takes cannot be told here: no run of it has finished, and {_WHY}."
    seconds = sum(_seconds(trial, rates[trial.run.model.name]) for trial in missing) / concurrent
    sources = "; ".join(f"{name} {rate.clips_per_s:.3g} clips/s, {rate.source}" for name, rate in rates.items())
    lines = [
        f"About {_hours(seconds)} for {len(missing)} runs, with the start of each ({sources}); "
        "early stopping makes it less."
    ]
    costs = {name: rate.cost for name, rate in rates.items() if rate.cost}
    if len(costs) == len(rates):
        lines += _space(missing, costs, num_tags, num_test, memory_here / site.workers / concurrent)
    return "\n".join(lines)


_WHY = "this machine has not the GPU that trains it, or it is trained without tags"


def _rate(
    run: RunConfig, rows: Mapping[str, ResultRow], site: SiteConfig, num_tags: int, gpu_here: bool
) -> Rate | None:
    """From finished runs of the same model, crops and device; else measured here, where that can be."""
    same = [row for row in rows.values() if row.model == run.model.name and _device(row) == site.use_gpu]
    same = [row for row in same if row.config.get("data", {}).get("crop_s") == run.data.crop_s and row.clips_per_s > 0]
    cost = None
    if run.loss != PRETEXT and (gpu_here or not site.use_gpu):
        cost = measure_step(run, num_tags, site.threads, site.use_gpu)
    if same:
        start_s = statistics.median(max(0.0, row.seconds_total - row.seconds_training) for row in same)
        rate = statistics.median(row.clips_per_s / row.workers for row in same)
        return Rate(rate * site.workers, start_s, "as its finished runs", cost)
    return Rate(cost.clips_per_s * site.workers, START_S, "measured here", cost) if cost else None


def _device(row: ResultRow) -> bool:
    return row.device != "cpu"


def _seconds(trial: Planned, rate: Rate) -> float:
    """A finished run's rate is over its validation passes too, so that their windows are counted once here."""
    windows = trial.bytes / SAMPLE_BYTES / seconds_to_len(trial.run.data.crop_s) - trial.clips
    scored = windows / SCORING if rate.source == "measured here" else 0.0
    return rate.start_s + (trial.clips + scored) / rate.clips_per_s


def _space(
    trials: Sequence[Planned], costs: Mapping[str, StepCost], num_tags: int, num_test: int, room: float
) -> list[str]:
    left = sum(costs[trial.run.model.name].checkpoint_bytes + num_test * num_tags * _ROW_BYTES for trial in trials)
    memory = max(costs[trial.run.model.name].memory(trial.run.data.group) for trial in trials)
    lines = [
        f"They leave about {_bytes(left)} of checkpoints, models and scores; a worker needs about {_bytes(memory)} of "
        "memory for weights and activations, besides its libraries."
    ]
    if 0 < room < memory + LIBRARIES:
        lines.append(
            f"[check] That is more than this machine has for it, {_bytes(room)} with {_bytes(LIBRARIES)} for "
            "libraries: lower data.crop_s or data.group, or give fewer cpus."
        )
    return lines


def _hours(seconds: float) -> str:
    return format_duration(seconds) if seconds < 100 * 3600 else f"{seconds / 3600:,.0f} hours"


def _bytes(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6)):,} MB"
