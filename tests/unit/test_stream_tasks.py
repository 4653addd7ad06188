"""How a stream's groups are shared out among its read tasks."""

from __future__ import annotations

import itertools

import pytest

from genrescale.data.stream import task_bounds


@pytest.mark.parametrize(("num_groups", "most"), [(1, 1), (1, 40), (7, 1), (100, 40), (1000, 40)])
def test_every_group_is_of_one_task_and_the_first_comes_alone(num_groups: int, most: int):
    bounds = task_bounds(num_groups, most)
    lengths = [high - low for low, high in itertools.pairwise(bounds)]
    assert (bounds[0], bounds[-1]) == (0, num_groups)
    assert lengths[0] == 1
    assert max(lengths) <= most
    assert all(after <= 2 * before for before, after in itertools.pairwise(lengths))


def test_a_long_stream_is_of_full_tasks():
    assert task_bounds(1000, 40)[:9] == [0, 1, 3, 7, 15, 31, 63, 103, 143]


def test_no_groups_are_no_task():
    assert task_bounds(0, 40) == [0]
