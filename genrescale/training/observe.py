"""Hands what a training loop measures to the recorder of its process. It measures little of its own.

The loop counts steps and clips (RunState), waiting and reading (TimedGroups) and the parts of steps (StepClock). Here
is only the time of what the loop does between and around its steps.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from genrescale.data.reading.plan import RunPlan
from genrescale.telemetry.metric_table import ACTIVITIES, READ_STAGES, WAIT_CAUSES
from genrescale.telemetry.recorder import Recorder
from genrescale.telemetry.stream_stats import StreamStats
from genrescale.training.state import RunState
from genrescale.training.step_clock import NoClock, StepClock
from genrescale.training.timed import TimedGroups


@dataclass(frozen=True)
class Attempt:
    """An attempt of a run: when it began, a time.time(), and the step that an earlier attempt, if any, had come to."""

    began_s: float = field(default_factory=time.time)
    earlier_step: int | None = None


def memory_bytes(device: torch.device) -> int:
    """The most that tensors took of a GPU; of a worker without one, its resident memory."""
    return _device_bytes(device) if device.type == "cuda" else _resident_bytes()


def _device_bytes(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def _resident_bytes() -> int:
    return psutil.Process().memory_info().rss


class Unobserved:
    """In the place of a RunObserver where nobody listens."""

    clock: StepClock = NoClock()

    def begins(self, state: RunState) -> None: ...
    def during(self, activity: str, stats: StreamStats | None = None) -> None: ...
    def look(self, state: RunState, timed: TimedGroups[Any], train_loss: float | None) -> None: ...
    def moves(self) -> None: ...
    def checked(self, loss: float) -> None: ...
    def saved(self, folder: Path) -> None: ...
    def ends(self) -> None: ...


class RunObserver(Unobserved):
    """Tells ``said`` of one rank's part of a run; what is of the run as a whole, rank 0 tells.

    ``flops`` are the operations of a clip, ``device_rate`` those that a device does in a second.
    """

    def __init__(
        self,
        said: Recorder,
        plan: RunPlan,
        rank: int,
        world_size: int,
        device: torch.device,
        clock: StepClock,
        attempt: Attempt,
        flops: float = 0.0,
        device_rate: float = 0.0,
    ) -> None:
        self._said, self._plan, self._rank, self._world_size = said, plan, rank, world_size
        self._device, self._attempt, self._flops = device, attempt, flops
        self.clock = clock
        self._spent = dict.fromkeys(ACTIVITIES, 0.0)
        self._activity, self._since, self._waited = "start", time.perf_counter(), 0.0
        self._spent["start"] = max(0.0, time.time() - attempt.began_s)
        self._first = RunState()
        self._diverges = False
        self._trains_since = 0.0
        for cause in WAIT_CAUSES:
            said.add("genrescale_data_wait_seconds_total", 0, cause=cause)
        for stage in READ_STAGES:
            said.add("genrescale_read_seconds_total", 0, stage=stage)
        for part in clock.seconds():
            said.add("genrescale_step_seconds_total", 0, part=part)
        for name in (
            *("genrescale_delivered_bytes_total", "genrescale_fetched_bytes_total"),
            "genrescale_storage_retries_total",
        ):
            said.add(name, 0)
        if rank == 0:
            self._promise(device_rate * world_size)

    def _promise(self, rate: float) -> None:
        """Make counters known before they have counted anything."""
        said = self._said
        for activity in ACTIVITIES:
            said.add("genrescale_run_seconds_total", 0, activity=activity)
        said.add("genrescale_restarts_total", float(self._attempt.earlier_step is not None))
        for name in (
            *("genrescale_nonfinite_losses_total", "genrescale_checkpoints_total", "genrescale_checkpoint_bytes_total"),
            *("genrescale_steps_total", "genrescale_clips_total"),
            *(("genrescale_model_flops_total",) if self._flops else ()),
        ):
            said.add(name, 0)
        said.set("genrescale_device_flops_per_second", rate or None)
        said.set("genrescale_planned_steps", self._plan.max_steps)
        said.set("genrescale_checkpoint_timestamp_seconds", self._attempt.began_s)
        self.moves()

    def begins(self, state: RunState) -> None:
        """Training begins at ``state``: this attempt's counters count from there."""
        self._first = RunState(step=state.step, clips=state.clips)
        self._trains_since = time.perf_counter()
        self.during("train")

    def during(self, activity: str, stats: StreamStats | None = None) -> None:
        """What the loop does from now on. What it waited for data before (``stats``) counts as ``data_wait``."""
        now, waited = time.perf_counter(), self._waited if stats is None else stats.wait_s
        self._spent[self._activity] += max(0.0, now - self._since - (waited - self._waited))
        self._spent["data_wait"] += waited - self._waited
        self._activity, self._since, self._waited = activity, now, waited

    def look(self, state: RunState, timed: TimedGroups[Any], train_loss: float | None) -> None:
        """Tell where the loop stands; now and then, and not at each step."""
        if self._activity == "score":  # groups of another stream, which no result row counts
            self.moves()
            return
        trains = self._activity in ("train", "rework")
        self.during(self._training(state) if trains else self._activity, timed.stats)
        self._of_rank(timed)
        if self._rank == 0:
            self._of_run(state, train_loss)

    def _training(self, state: RunState) -> str:
        return "rework" if state.step < (self._attempt.earlier_step or 0) else "train"

    def _of_rank(self, timed: TimedGroups[Any]) -> None:
        said, stats = self._said, timed.stats
        for cause, seconds in timed.wait_s_by_cause.items():
            said.total("genrescale_data_wait_seconds_total", seconds, cause=cause)
        for stage in READ_STAGES:
            said.total("genrescale_read_seconds_total", getattr(stats, f"{stage}_s"), stage=stage)
        for part, seconds in self.clock.seconds().items():
            said.total("genrescale_step_seconds_total", seconds, part=part)
        said.total("genrescale_delivered_bytes_total", stats.bytes_delivered)
        said.total("genrescale_fetched_bytes_total", stats.bytes_fetched)
        said.total("genrescale_storage_retries_total", stats.retries)
        said.set("genrescale_queued_groups", stats.queue_depth)
        said.set("genrescale_host_memory_bytes", _resident_bytes())
        said.set("genrescale_device_memory_bytes", _device_bytes(self._device))

    def _of_run(self, state: RunState, train_loss: float | None) -> None:
        said, steps, clips = self._said, state.step - self._first.step, state.clips - self._first.clips
        said.total("genrescale_steps_total", steps)
        said.total("genrescale_clips_total", clips)
        if self._flops:  # they are known
            said.total("genrescale_model_flops_total", clips * self._flops)
        self._of_time()
        said.set("genrescale_step", state.step)
        said.set("genrescale_epochs", state.step / self._plan.train.steps_per_epoch)
        pace_s = (time.perf_counter() - self._trains_since) / steps if steps else None
        said.set("genrescale_left_seconds", None if pace_s is None else pace_s * (self._plan.max_steps - state.step))
        said.set("genrescale_learning_rate", state.lr)
        if train_loss is not None:
            self.checked(train_loss)
            said.set("genrescale_train_loss", train_loss)
        for name, value in (state.curve[-1] if state.curve else {}).items():
            if name.startswith("val_"):
                said.set("genrescale_validation_score", value, metric=name.removeprefix("val_"))
        self.moves()

    def _of_time(self) -> None:
        for activity, seconds in self._spent.items():
            self._said.total("genrescale_run_seconds_total", seconds, activity=activity)
        device = "gpu" if self._device.type == "cuda" else "worker"
        held_s = (time.time() - self._attempt.began_s) * self._world_size
        self._said.total("genrescale_device_seconds_total", held_s, device=device)

    def moves(self) -> None:
        """Something was done: the run does not hang."""
        if self._rank == 0:
            self._said.set("genrescale_progress_timestamp_seconds", time.time())

    def checked(self, loss: float) -> None:
        """Count a loss that is no number, and the following ones only after one that is: a mean stays what it is."""
        if self._rank == 0 and not math.isfinite(loss) and not self._diverges:
            self._said.add("genrescale_nonfinite_losses_total")
        self._diverges = not math.isfinite(loss)

    def saved(self, folder: Path) -> None:
        """Count a checkpoint that lies in ``folder``."""
        if self._rank == 0:
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            self._said.add("genrescale_checkpoints_total")
            self._said.add("genrescale_checkpoint_bytes_total", size)
            self._said.set("genrescale_checkpoint_timestamp_seconds", time.time())

    def ends(self) -> None:
        """Tell the time of what was done last."""
        self.during(self._activity)
        if self._rank == 0:
            self._of_time()
