"""When a stream stands still, and when only its consumer is slow: with a clock that the test turns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from genrescale.data import pacing
from genrescale.data.pacing import Pacing, StalledStreamError


class Executor:
    """Ray Data's executor, as far as Pacing looks at it."""

    def __init__(self) -> None:
        self.delivered, self.queued = 0, 0

    @property
    def _topology(self) -> dict[Any, None]:
        return {Operator(self.delivered): None}

    def _consumer_idling(self) -> bool:
        return self.queued == 0


class Operator:
    """One operator, which has delivered so much."""

    def __init__(self, delivered: int) -> None:
        self.metrics = SimpleNamespace(num_outputs_taken=delivered)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(pacing.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(pacing.time, "sleep", lambda _: None)
    monkeypatch.setattr(pacing, "STALLED_S", 60.0)
    return clock


def steps(pace: Pacing, executor: Executor, clock: SimpleNamespace, seconds: int) -> None:
    for _ in range(seconds):
        clock.now += 1.0
        pace.on_execution_step(executor)


def test_tasks_that_stand_still_while_the_consumer_waits_are_an_error(clock: SimpleNamespace):
    pace, executor = Pacing(), Executor()
    steps(pace, executor, clock, 59)
    with pytest.raises(StalledStreamError, match="for 60 s while training waited"):
        steps(pace, executor, clock, 2)


def test_every_delivery_starts_the_time_anew(clock: SimpleNamespace):
    pace, executor = Pacing(), Executor()
    for executor.delivered in range(10):
        steps(pace, executor, clock, 50)


def test_a_consumer_that_has_groups_may_take_hours(clock: SimpleNamespace):
    pace, executor = Pacing(), Executor()
    executor.queued = 3
    steps(pace, executor, clock, 10_000)


def test_a_process_that_was_stopped_has_not_waited(clock: SimpleNamespace):
    pace, executor = Pacing(), Executor()
    steps(pace, executor, clock, 1)
    clock.now += 7200.0
    steps(pace, executor, clock, 50)
