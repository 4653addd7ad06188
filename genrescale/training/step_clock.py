"""Times the parts of training steps: on a CPU by the clock, on a GPU by events that no step waits for."""

from __future__ import annotations

import time
from collections import deque
from typing import Protocol

import torch

from genrescale.telemetry.metric_table import STEP_PARTS

_LOOK_AT = 512  # events that wait for the device, above which it is asked which of them are over


class StepClock(Protocol):
    """``begin`` at the start of a step; ``mark`` at the end of each part, which lasted since the mark before it."""

    def begin(self) -> None: ...
    def mark(self, part: str) -> None: ...
    def seconds(self) -> dict[str, float]:
        """The time of every part, over all steps so far."""
        ...


class NoClock:
    """Where nobody asks."""

    def begin(self) -> None: ...
    def mark(self, part: str) -> None: ...
    def seconds(self) -> dict[str, float]:
        return {}


class HostClock:
    """Of this process: right where its own thread computes, as on a CPU."""

    def __init__(self) -> None:
        self._seconds, self._since = dict.fromkeys(STEP_PARTS, 0.0), 0.0

    def begin(self) -> None:
        self._since = time.perf_counter()

    def mark(self, part: str) -> None:
        now = time.perf_counter()
        self._seconds[part] += now - self._since
        self._since = now

    def seconds(self) -> dict[str, float]:
        return dict(self._seconds)


class DeviceClock:
    """Of a GPU: events in the stream of the computation, read once they are over. The host never waits for one.

    What the GPU waits for, such as a group that has not come, is part of what it did next: ``data_wait`` is marked when
    a group has come.
    """

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(STEP_PARTS, 0.0)
        self._pending: deque[tuple[str, torch.cuda.Event, torch.cuda.Event]] = deque()
        self._spare: list[torch.cuda.Event] = []
        self._since: torch.cuda.Event | None = None

    def begin(self) -> None:
        if len(self._pending) > _LOOK_AT:
            self._look()
        self._since = self._event()

    def mark(self, part: str) -> None:
        if self._since is not None:
            now = self._event()
            self._pending.append((part, self._since, now))
            self._since = now

    def seconds(self) -> dict[str, float]:
        self._look()
        return dict(self._seconds)

    def _event(self) -> torch.cuda.Event:
        event = self._spare.pop() if self._spare else torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _look(self) -> None:
        while self._pending and self._pending[0][2].query():
            part, start, end = self._pending.popleft()
            self._seconds[part] += start.elapsed_time(end) / 1000
            self._spare.append(start)  # the end is the start of the next part, or the last of its step


def step_clock(device: torch.device) -> StepClock:
    return DeviceClock() if device.type == "cuda" else HostClock()
