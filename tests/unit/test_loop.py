"""The schedule counts steps, and the loop insists on the plan's order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.slow_engine import Clock, SlowEngine
from helpers.traces import CROP, plan_of

from genrescale.audio import Tag, Vocabulary
from genrescale.config import OptimConfig, RunConfig
from genrescale.data.reading.plan import GroupId, RunPlan
from genrescale.data.reading.source import CropGroup
from genrescale.training.live import Moment
from genrescale.training.loop import SongScores, TrainingLoop, join_songs, song_means
from genrescale.training.schedules import after_validation, check_finite
from genrescale.training.state import RunState
from genrescale.training.timed import TimedGroups

OPTIM = OptimConfig(lr=0.1, max_steps=1000, validate_every=10, plateau_steps=20, plateau_factor=0.5, patience_steps=50)


def run_schedule(losses: list[float], optim: OptimConfig = OPTIM) -> tuple[RunState, list[bool], list[float]]:
    state = RunState(lr=optim.lr)
    best, rates = [], []
    for i, loss in enumerate(losses):
        state.step = (i + 1) * optim.validate_every
        best.append(after_validation(state, optim, loss))
        rates.append(state.lr)
    return state, best, rates


def test_the_best_checkpoint_is_the_lowest_validation_loss():
    state, best, _ = run_schedule([3.0, 2.0, 2.5, 1.5, 1.5])
    assert best == [True, True, False, True, False]
    assert (state.best_step, state.best_loss) == (40, 1.5)


def test_the_rate_halves_after_each_plateau():
    _, _, rates = run_schedule([1.0, 2.0, 2.0, 2.0, 2.0])
    assert rates == [0.1, 0.1, 0.05, 0.05, 0.025]


def test_training_stops_after_the_patience():
    state, _, _ = run_schedule([1.0] + [2.0] * 4)
    assert not state.stopped_early
    state, _, _ = run_schedule([1.0] + [2.0] * 5)
    assert state.stopped_early


def test_without_patience_training_goes_on():
    state, _, _ = run_schedule([1.0] + [2.0] * 50, OptimConfig(lr=0.1, validate_every=10, patience_steps=0))
    assert not state.stopped_early


def test_a_diverged_loss_is_refused_with_a_remedy():
    check_finite(3.0, 10, 0.1)
    with pytest.raises(ValueError, match=r"loss is nan at step 10.*lower lr than 0.1"):
        check_finite(float("nan"), 10, 0.1)


def test_a_group_out_of_order_is_refused():
    songs, wave = np.arange(2), np.zeros((2, 4), np.int16)
    group = CropGroup(GroupId("train", 1, 0), songs, songs, wave, np.zeros((2, 1), np.float32))
    with pytest.raises(RuntimeError, match="the stream delivered"):
        TimedGroups(iter([group])).take(GroupId("train", 0, 0))
    with pytest.raises(RuntimeError, match="delivered None"):
        TimedGroups(iter([])).take(GroupId("train", 0, 0))


def test_a_songs_score_is_the_mean_of_its_windows():
    songs = np.array([4, 4, 4, 7])
    scores = np.array([[0.0, 1.0], [0.5, 1.0], [1.0, 0.4], [0.2, 0.3]])
    labels = np.array([[1, 0]] * 3 + [[0, 1]], np.float32)
    found = song_means(songs, scores, labels, 2.5)
    assert found.songs_N.tolist() == [4, 7]
    assert found.windows_N.tolist() == [3, 1]
    np.testing.assert_allclose(found.score_NK, [[0.5, 0.8], [0.2, 0.3]])
    np.testing.assert_array_equal(found.true_NK, [[1, 0], [0, 1]])


def test_parts_join_in_the_order_of_songs():
    parts = [song_means(np.array([s]), np.array([[s / 10]]), np.ones((1, 1), np.float32), 1.0) for s in (5, 2, 9)]
    joined = join_songs([SongScores.none(1), *parts])
    assert joined.songs_N.tolist() == [2, 5, 9]
    assert joined.score_NK.ravel().tolist() == [0.2, 0.5, 0.9]
    assert joined.loss_sum == 3.0


def silent_groups(plan: RunPlan, start: int = 0) -> Iterator[CropGroup]:
    for id in plan.items(0, 1, start):
        crops = plan.crops(id)
        wave_nT, labels_nK = np.zeros((len(crops), CROP), np.int16), np.zeros((len(crops), 1), np.float32)
        yield CropGroup(id, crops.songs_n, crops.starts_n, wave_nT, labels_nK)


def test_waiting_is_counted_over_steps_and_validations_and_over_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Two groups to a step, one to a validation; the clock goes on by two seconds at each group, one of them waited."""
    clock, seen = Clock(), []
    monkeypatch.setattr(
        "genrescale.training.loop.time", SimpleNamespace(perf_counter=lambda: clock.now, time=lambda: 1.0)
    )
    monkeypatch.setattr(
        "genrescale.training.timed.time", SimpleNamespace(perf_counter=lambda: clock.tick(1), time=lambda: 1.0)
    )
    plan = replace(plan_of(np.full(64, 3 * CROP), 4), validate_every=2)
    run = RunConfig(optim=OptimConfig(max_steps=4, validate_every=2, patience_steps=0))

    def loop_of() -> TrainingLoop:
        engine: Any = SlowEngine(clock)
        return TrainingLoop(run, Vocabulary((Tag("rock"),)), plan, engine, lambda *_: torch.zeros(()), report)

    def report(metrics: dict[str, float | None], save: Any) -> None:
        (folder := tmp_path / str(loop.state.step)).mkdir(exist_ok=True)
        save(folder)
        clock.tick(1000)  # the checkpoint on its way to a bucket
        seen.append((loop.state.seconds, loop.state.wait_s, loop.state.streams[0]))

    window = 2 * (2 * 2 + 10) + 2 + 5  # two steps and a validation
    loop = loop_of()
    loop.train(silent_groups(plan))
    assert [(seconds, waited) for seconds, waited, _ in seen] == [(window, 5), (2 * window, 10)]
    for i, (seconds, waited, stream) in enumerate(seen, 1):
        assert (stream["seconds"], stream["wait_s"], stream["clips"]) == (seconds, waited, i * (2 * 64 + 6))

    loop = loop_of()
    loop.load(tmp_path / "2")
    loop.train(silent_groups(plan, 2))
    seconds, waited, stream = seen[-1]
    assert (seconds, waited) == (2 * window, 10)  # of both attempts
    assert (stream["seconds"], stream["wait_s"]) == (window, 5)  # of the second


def test_a_loop_says_where_it_stands_at_each_step_and_while_it_validates():
    plan = replace(plan_of(np.full(64, 3 * CROP), 4), validate_every=2)
    run = RunConfig(optim=OptimConfig(max_steps=4, validate_every=2, patience_steps=0))
    engine: Any = SlowEngine(Clock())
    heard: list[Moment] = []
    loop = TrainingLoop(
        *(run, Vocabulary((Tag("rock"),)), plan, engine, lambda *_: torch.zeros(()), lambda metrics, save: None),
        live=lambda moment: heard.append(moment()),
    )
    loop.train(silent_groups(plan))
    said = [(moment.run.step, moment.run.doing, bool(moment.run.validation)) for moment in heard]
    assert said[:4] == [(0, "reading the first songs", False), (1, "", False), (2, "", False), (2, "validating", False)]
    assert (3, "", True) in said
    assert heard[0].run.train_loss is None
    assert heard[2].run.train_loss is not None
    assert heard[2].streams[0]["clips"] == 2 * 64
    assert heard[2].streams[0]["seconds"] > 0
