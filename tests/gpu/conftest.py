"""A GPU and a process group on it. Without one these tests are skipped, in CI too: few machines have one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no GPU on this machine: make gpu runs these tests where there is one")
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(scope="session")
def nccl(gpu: torch.device) -> Iterator[None]:
    dist.init_process_group("nccl", store=HashStore(), rank=0, world_size=1, device_id=gpu)
    yield
    dist.destroy_process_group()
