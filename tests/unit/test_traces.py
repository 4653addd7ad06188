"""Who reads what: the same trace on any number of workers, and after any number of stops exactly the rest."""

from __future__ import annotations

import time

import numpy as np
import pytest
from helpers.traces import BATCH, CROP, GROUP, NUM_SONGS, merged, plan_of, planned_rows, train_items

from genrescale.data.reading.plan import GroupId, RunPlan, check_workers
from genrescale.data.reading.samplers import Uniform

STEPS = 55  # an epoch of ten thousand songs has 40 (39 of 256 clips and one of 16), so this crosses into the second


@pytest.fixture(scope="module")
def plan() -> RunPlan:
    return plan_of(np.random.default_rng(1).integers(CROP, 3 * CROP, NUM_SONGS), STEPS)


def trace(plan: RunPlan, workers: int, start: int = 0, stop: int = STEPS) -> bytes:
    return merged([planned_rows(plan, train_items(plan, rank, workers, start, stop)) for rank in range(workers)])


@pytest.fixture(scope="module")
def whole(plan: RunPlan) -> bytes:
    return trace(plan, 1)


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_traces_are_equal_byte_for_byte(plan: RunPlan, whole: bytes, workers: int):
    assert trace(plan, workers) == whole


def test_a_trace_holds_every_song_of_an_epoch_once(whole: bytes):
    rows = np.frombuffer(whole, np.int64).reshape(-1, 5)
    first = rows[rows[:, 0] == 0]
    assert sorted(first[:, 3].tolist()) == list(range(NUM_SONGS))
    assert len(rows) == NUM_SONGS + 15 * BATCH


@pytest.mark.parametrize("stop", [1, 3, 7, 39, 40, 41, *np.random.default_rng().integers(1, STEPS, 5).tolist()])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 8), (8, 2), (3, 5)])
def test_first_part_and_rest_are_all(plan: RunPlan, whole: bytes, stop: int, before: int, after: int):
    assert trace(plan, before, 0, stop) + trace(plan, after, stop) == whole


def test_stopped_twice_it_is_still_all(plan: RunPlan, whole: bytes):
    first, second = sorted(np.random.default_rng().choice(np.arange(1, STEPS), 2, replace=False).tolist())
    parts = [trace(plan, 8, 0, first), trace(plan, 2, first, second), trace(plan, 8, second)]
    assert b"".join(parts) == whole, (first, second)


@pytest.mark.parametrize("workers", range(1, 40))
def test_every_number_of_workers_serves_the_batch_or_is_refused(plan: RunPlan, whole: bytes, workers: int):
    if workers > BATCH // GROUP:
        with pytest.raises(ValueError, match=rf"gives 8 group\(s\) per step, too few for {workers} workers; use"):
            check_workers(BATCH, GROUP, workers)
        return
    check_workers(BATCH, GROUP, workers)
    assert trace(plan, workers) == whole
    full = [step for step in range(STEPS) if plan.train.num_groups(step) == 8]
    for rank in range(workers):  # in a full step nobody is without work
        assert set(full) <= {id.step for id in train_items(plan, rank, workers)}


def test_a_million_songs_start_and_resume_at_once(monkeypatch: pytest.MonkeyPatch):
    """Nothing but an epoch's draw depends on the number of songs. Another process resumes: with a plan of its own."""
    draw, draws = Uniform.draw, []
    monkeypatch.setattr(Uniform, "draw", lambda self, rng: draws.append(rng) or draw(self, rng))
    million = np.full(1_000_000, 3 * CROP)
    steps, late = 3 * len(million) // BATCH, 2 * (len(million) // BATCH) + 1_500  # in the third epoch
    began = time.process_time()
    started = plan_of(million, steps)
    first = started.crops(next(started.items(0, 2)))
    drawn = time.process_time()
    assert len(draws) == 1
    resumed = plan_of(million, steps)
    assert resumed.train.epoch(late) == 2
    rest = resumed.crops(next(resumed.items(5, 8, start_step=late)))
    ended = time.process_time()
    assert len(draws) == 2
    in_the_same_epoch = started.crops(next(started.items(5, 8, start_step=3_000)))
    assert len(draws) == 2
    assert len(first) == len(rest) == len(in_the_same_epoch) == GROUP
    assert drawn - began < 3
    assert ended - drawn < 3
    undisturbed = started.crops(GroupId("train", late, 5))
    assert rest.songs_n.tolist() == undisturbed.songs_n.tolist()
    assert rest.starts_n.tolist() == undisturbed.starts_n.tolist()
