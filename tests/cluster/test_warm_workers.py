"""Workers that are forks of one process are as different from each other as those that Ray starts by itself."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import psutil
import pytest
import ray

pytestmark = pytest.mark.cluster
COUNT = 3


class Fork:
    def drawn(self) -> tuple[int, list[str]]:
        from ray._raylet import UniqueID

        return os.getpid(), [UniqueID.from_random().hex(), str(np.random.random()), ray.put(0).hex()]

    def threads(self) -> int:
        import torch

        return torch.get_num_threads()

    def parent(self) -> list[str]:
        return psutil.Process(os.getppid()).cmdline()


def test_no_two_forks_draw_the_same_ids_or_numbers(ray_cluster: None):
    """Runs at the same time would mix their checkpoints: two of the same id are one to Ray."""
    fork: Any = ray.remote(num_cpus=0.1)(Fork)
    actors = [fork.remote() for _ in range(COUNT)]
    told = ray.get([actor.drawn.remote() for actor in actors])
    assert len({pid for pid, _ in told}) == COUNT
    for values in zip(*(drawn for _, drawn in told), strict=True):
        assert len(set(values)) == COUNT
    # as in a worker that Ray starts; a run sets its own number
    assert ray.get(actors[0].threads.remote()) == 1
    for parent in ray.get([actor.parent.remote() for actor in actors]):
        assert "genrescale.launch.warm_server" in parent
