"""Ray Data tries a task again without end where its process fails; a run must not hang.

Apart from the other tests: threads of Ray Data that a failed stream leaves behind may end the process after its Ray.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayError
from traces import CROP, plan_of, ten_thousand_songs, train_items

from genrescale.cluster import connect
from genrescale.data.plan import ScorePlan
from genrescale.data.source import StreamSource
from genrescale.data.stream import group_stream


class Poison:
    """Ends the process that reads it."""

    def __reduce__(self) -> tuple:
        return os._exit, (1,)


@pytest.fixture
def ray_cluster() -> Iterator[None]:
    with connect(num_cpus=2):
        yield


def test_a_task_that_can_never_run_ends_the_stream(ray_cluster: None, tmp_path: Path):
    table = ten_thousand_songs(tmp_path)
    plan = plan_of(table.len_N, 44)
    test = ScorePlan(table.len_N[:2], CROP, "consecutive", "test")
    source = StreamSource({"train": table, "validation": table, "test": table}, plan, test)
    poison: Any = ray.put(Poison())
    began = time.monotonic()
    with pytest.raises(RayError):
        list(group_stream(source, poison, iter(train_items(plan, 0, 1)), 0.5))
    assert time.monotonic() - began < 60
