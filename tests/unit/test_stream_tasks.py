"""How a stream's groups are shared out among its read tasks. No Ray."""

from __future__ import annotations

import itertools
import uuid
from pathlib import Path
from typing import Any

import pytest
import ray
from helpers.one_song import source_in

from genrescale.data.stream import FAR_TASK_GROUPS, CropSource, song_stream, task_bounds


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


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_stream_begins_with_one_group_and_a_bucket_is_never_asked_for_many_at_once(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Short crops: 120 MB of them are 40 groups, from a bucket 1,300 requests before the first is handed over."""
    given: dict[str, Any] = {}

    class _Given(Exception):
        pass

    def read_datasource(source: CropSource, **options: Any) -> None:
        given.update(options, source=source)
        raise _Given

    monkeypatch.setattr(ray.data, "read_datasource", read_datasource)
    source = source_in(str(tmp_path) if place == "folder" else f"memory://{uuid.uuid4().hex}", crop_s=3)
    ids = list(source.plan.items(0, 1))
    reference: Any = None
    with pytest.raises(_Given):
        song_stream(source, reference, ids, cpus=1.0)
    tasks = given["source"].get_read_tasks(parallelism=1)
    lengths = [task.metadata.num_rows for task in tasks]
    assert given["override_num_blocks"] == len(tasks)
    assert sum(lengths) == len(ids)
    assert lengths[:4] == [1, 2, 4, 8]
    assert max(lengths) > 2 * FAR_TASK_GROUPS if place == "folder" else max(lengths) == FAR_TASK_GROUPS
