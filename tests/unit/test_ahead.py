"""One group ahead: fetched while the model computes, in the stream's order, and copied beside the computation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.slow_engine import Clock, SlowEngine
from helpers.traces import CROP, plan_of

import genrescale.training.prefetch
from genrescale.audio import Tag, Vocabulary
from genrescale.config import OptimConfig, RunConfig
from genrescale.data.reading.plan import GroupId
from genrescale.data.reading.source import CropGroup
from genrescale.training.engine import TrainGroup
from genrescale.training.loop import TrainingLoop
from genrescale.training.prefetch import GroupsAhead

CPU = torch.device("cpu")


def group_of(id: GroupId, clips: int = 2) -> CropGroup:
    songs, wave_nT = np.arange(clips), np.full((clips, CROP), id.group, np.int16)
    return CropGroup(id, songs, songs, wave_nT, np.zeros((clips, 1), np.float32))


class Asked:
    """A stream that counts how often it was asked, and can be waited for."""

    def __init__(self, groups: Iterator[CropGroup]) -> None:
        self._groups = groups
        self.count = 0
        self._changed = threading.Condition()

    def __iter__(self) -> Asked:
        return self

    def __next__(self) -> CropGroup:
        with self._changed:
            self.count += 1
            self._changed.notify_all()
        return next(self._groups)

    def reaches(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.count >= count, timeout=300)


def five() -> Asked:
    return Asked(group_of(GroupId("train", 0, i)) for i in range(5))


def test_the_next_group_is_asked_for_while_one_is_in_use_and_never_the_one_after():
    stream = five()
    with GroupsAhead(stream, CPU) as ahead:
        for taken in range(1, 6):
            assert next(ahead).id.group == taken - 1
            assert stream.reaches(taken + 1)
            assert stream.count == taken + 1
        assert next(ahead, None) is None


def test_on_a_cpu_nothing_is_copied():
    source = group_of(GroupId("train", 0, 0))
    with GroupsAhead(iter([source]), CPU) as ahead:
        assert next(ahead).sent_nT is source.wave_nT


def test_what_the_stream_raises_is_raised_where_its_group_is_taken():
    def broken() -> Iterator[CropGroup]:
        yield group_of(GroupId("train", 0, 0))
        raise ValueError("shard 7 is damaged")

    with GroupsAhead(broken(), CPU) as ahead:
        assert next(ahead).id.group == 0
        with pytest.raises(ValueError, match="shard 7 is damaged"):
            next(ahead)


def test_a_stream_that_is_left_can_be_closed_at_once():
    """Of a run that stops early: a generator that another thread still runs would refuse."""
    began, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[CropGroup]:
        yield group_of(GroupId("train", 0, 0))
        began.set()
        go_on.wait(10)
        yield group_of(GroupId("train", 0, 1))

    stream: Any = slow()
    with GroupsAhead(stream, CPU) as ahead:
        next(ahead)
        assert began.wait(10)
        threading.Timer(0.05, go_on.set).start()
    stream.close()


def test_the_loop_asks_for_the_next_group_before_a_step_is_done_and_a_checkpoint_does_not_count_it():
    plan = replace(plan_of(np.full(40, 3 * CROP), 4), validate_every=2)  # a step is an epoch: groups of 32 and of 8
    items = list(plan.items(0, 1))
    stream = Asked(group_of(id, len(plan.crops(id))) for id in items)
    taken: list[int] = []

    def is_one_ahead() -> bool:
        return stream.reaches(len(taken) + 1) and stream.count == len(taken) + 1

    class Engine(SlowEngine):
        def train_step(self, step: int, groups: Iterator[TrainGroup], count: int) -> torch.Tensor:
            for group in groups:
                taken.append(group.group)
                assert is_one_ahead()
            return torch.tensor(1.0, dtype=torch.float64)

        def logits(self, wave_BT: Any, group: int) -> torch.Tensor:
            taken.append(-1)
            assert is_one_ahead()
            return super().logits(wave_BT, group)

    def report(metrics: dict[str, float | None], save: Any) -> None:
        assert is_one_ahead()
        assert list(plan.items(0, 1, loop.state.step)) == items[len(taken) :]

    engine: Any = Engine(Clock())
    run = RunConfig(optim=OptimConfig(max_steps=4, validate_every=2, patience_steps=0))
    loop = TrainingLoop(run, Vocabulary((Tag("rock"),)), plan, engine, lambda *_: torch.zeros(()), report)
    loop.train(stream)
    assert taken == [0, 1, 0, 1, -1] * 2


def test_a_copy_runs_beside_the_computation_and_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    """Of a GPU's calls only their order can be seen without one: none of them is made here."""
    calls: list[tuple[str, str]] = []
    current = ["computing"]

    class Stream:
        def __init__(self, name: str) -> None:
            self.name = name

        def wait_event(self, event: Event) -> None:
            calls.append((f"wait for {event.of}", self.name))

    class Event:
        def record(self, stream: Stream) -> None:
            self.of = stream.name
            calls.append(("copied", stream.name))

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        current[0] = stream.name
        yield
        current[0] = "computing"

    class Sent(torch.Tensor):
        def record_stream(self, s: Any) -> None:
            calls.append(("in use", s.name))

    class Pinned:
        def __init__(self, shape: tuple[int, ...]) -> None:
            self.data = np.empty(shape, np.int16)

        def numpy(self) -> np.ndarray:
            return self.data

        def to(self, device: torch.device, non_blocking: bool) -> torch.Tensor:
            assert non_blocking
            calls.append((f"copy to {device}", current[0]))
            return torch.from_numpy(self.data.copy()).as_subclass(Sent)

    def empty(shape: tuple[int, ...], dtype: torch.dtype, pin_memory: bool) -> Pinned:
        assert (dtype, pin_memory) == (torch.int16, True)
        return Pinned(shape)

    cuda = SimpleNamespace(
        Stream=lambda device: Stream("copies"),
        Event=Event,
        stream=on,
        current_stream=lambda device: Stream("computing"),
    )
    monkeypatch.setattr(
        genrescale.training.prefetch, "torch", SimpleNamespace(cuda=cuda, empty=empty, int16=torch.int16)
    )
    with GroupsAhead(five(), torch.device("cuda")) as ahead:
        groups = list(ahead)
    assert [int(group.sent_nT[0, 0]) for group in groups] == list(range(5))
    copying = [("copy to cuda", "copies"), ("copied", "copies")]
    using = [("wait for copies", "computing"), ("in use", "computing")]
    assert [call for call in calls if call[1] == "copies"] == copying * 5
    assert [call for call in calls if call[1] == "computing"] == using * 5
    assert calls[:2] == copying
