"""Plans are pure: every song once per epoch, the same groups on any number of workers, resumable at any step."""

from __future__ import annotations

import numpy as np
import pytest

from genrescale.data.reading.plan import GroupId, RunPlan, ScorePlan, TrainPlan, check_workers, group_bounds
from genrescale.data.reading.samplers import Uniform

CROP = 100


def train_plan(num_songs: int, batch: int = 8, group: int = 4, seed: int = 3) -> TrainPlan:
    lengths = np.random.default_rng(num_songs).integers(80, 400, num_songs)
    return TrainPlan(lengths, seed, batch, group, CROP, Uniform(num_songs))


def run_plan(num_songs: int = 21, max_steps: int = 12, validate_every: int = 5) -> RunPlan:
    validation = ScorePlan(np.full(70, 350), CROP, "consecutive", "validation")
    return RunPlan(train_plan(num_songs), validation, max_steps, validate_every)


@pytest.mark.parametrize(
    ("clips", "group", "sizes"),
    [(8, 4, [4, 4]), (9, 4, [4, 5]), (10, 4, [4, 4, 2]), (5, 4, [5]), (3, 4, [3]), (13, 4, [4, 4, 5])],
)
def test_a_trailing_single_clip_joins_the_group_before(clips: int, group: int, sizes: list[int]):
    assert [high - low for low, high in group_bounds(clips, group)] == sizes


def test_a_single_clip_cannot_be_trained_on():
    with pytest.raises(ValueError, match="batch norm needs two"):
        group_bounds(1, 4)


@pytest.mark.parametrize("num_songs", [2, 7, 8, 9, 16, 17, 21, 100])
def test_every_song_is_in_an_epoch_once(num_songs: int):
    plan = train_plan(num_songs)
    for epoch in range(3):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        songs = [song for s in steps for g in range(plan.num_groups(s)) for song in plan.crops(s, g).songs_n]
        assert sorted(songs) == list(range(num_songs))
        assert sum(plan.num_clips(step) for step in steps) == num_songs


def test_crops_lie_inside_their_songs():
    plan = train_plan(500)
    for step in range(plan.steps_per_epoch):
        for group in range(plan.num_groups(step)):
            crops = plan.crops(step, group)
            room = np.maximum(plan.len_N[crops.songs_n] - CROP, 0)
            assert (crops.starts_n >= 0).all()
            assert (crops.starts_n <= room).all()


def test_epochs_and_seeds_differ_and_repeat():
    def epoch_order(plan: TrainPlan, epoch: int) -> list[int]:
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        return [int(song) for s in steps for g in range(plan.num_groups(s)) for song in plan.crops(s, g).songs_n]

    orders = [epoch_order(train_plan(64), 0), epoch_order(train_plan(64), 1), epoch_order(train_plan(64, seed=4), 0)]
    assert epoch_order(train_plan(64), 0) == orders[0]
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("start", [0, 1, 7, 11])
def test_workers_share_the_plan_and_resume_anywhere(workers: int, start: int):
    plan = run_plan()
    alone = list(plan.items(0, 1, start))
    dealt = [list(plan.items(rank, workers, start)) for rank in range(workers)]
    assert sorted(map(str, (id for part in dealt for id in part))) == sorted(map(str, alone))
    assert alone == [id for id in plan.items(0, 1) if id.step >= start]


def test_validation_follows_every_v_steps_and_the_end():
    plan = run_plan(max_steps=12, validate_every=5)
    validated = {id.step for id in plan.items(0, 1) if id.kind == "validation"}
    assert validated == {4, 9, 11}


def test_consecutive_windows_lie_side_by_side():
    plan = ScorePlan(np.array([350, 100, 40, 199]), CROP, "consecutive")
    crops = [plan.crops(0, group) for group in range(plan.num_groups)]
    found = [(int(s), int(t)) for c in crops for s, t in zip(c.songs_n, c.starts_n, strict=True)]
    assert found == [(0, 0), (0, 100), (0, 200), (1, 0), (2, 0), (3, 0)]


def test_spread_windows_follow_won():
    plan = ScorePlan(np.array([1000, 50]), CROP, "spread:4")
    crops = plan.crops(0, 0)
    assert crops.songs_n.tolist() == [0, 0, 0, 0, 1]
    assert crops.starts_n.tolist() == [0, 225, 450, 675, 0]  # i * ((1000 - 100) // 4)


def test_scoring_groups_keep_songs_whole_and_bounded():
    plan = ScorePlan(np.array([350] * 20 + [100 * 90] + [350] * 5), CROP, "consecutive")
    crops = [plan.crops(0, group) for group in range(plan.num_groups)]
    songs = [set(c.songs_n.tolist()) for c in crops]
    assert sorted(song for group in songs for song in group) == list(range(26))
    assert max(len(c) for c, group in zip(crops, songs, strict=True) if len(group) > 1) <= 32


def test_too_many_workers_are_refused_in_one_sentence():
    check_workers(32, 8, 4)
    with pytest.raises(ValueError, match=r"4 group\(s\) per step, too few for 5 workers"):
        check_workers(32, 8, 5)


def test_a_group_id_says_where_it_is():
    assert run_plan().crops(GroupId("train", 3, 1)).id == GroupId("train", 3, 1)
