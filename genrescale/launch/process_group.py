"""How the workers of a run find each other: through Ray Train's TCP store, on a private cluster through a file.

PyTorch's TCP store listens on every interface and serves whoever connects. A private cluster is one machine, so its
workers meet in a file of a folder that only this user may enter.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError
from ray.train.backend import Backend, BackendConfig

from genrescale.launch.cluster import RENDEZVOUS

PART_S = 30.0  # as long as Ray's own config waits for workers to leave their group


def process_group(use_gpu: bool) -> BackendConfig:
    """The process group of a run: NCCL on GPUs, Gloo on CPUs."""
    backend = "nccl" if use_gpu else "gloo"
    if folder := os.environ.get(RENDEZVOUS):
        return FileConfig(backend, folder)
    from ray.train.torch import TorchConfig

    return TorchConfig(backend=backend)


@dataclass
class FileConfig(BackendConfig):
    """A process group whose workers, all on this machine, meet in a new file of ``folder``.

    Not a TorchConfig: Ray Train's controller reads it, a process that would import PyTorch for nothing else.
    """

    backend: str
    folder: str

    @property
    def backend_cls(self) -> type[_FileBackend]:
        return _FileBackend

    @property
    def train_func_context(self) -> type:
        """Read where the run is launched: a worker's function runs on its own GPU."""
        from ray.train.torch.config import TorchConfigContextManager

        return TorchConfigContextManager


class _FileBackend(Backend):
    share_cuda_visible_devices = True

    def on_start(self, worker_group, backend_config: FileConfig) -> None:  # type: ignore[no-untyped-def, override]
        """Form the process group; a restarted attempt meets in another file."""
        url, world_size = f"file://{backend_config.folder}/{uuid.uuid4().hex}", len(worker_group)
        met: list[Any] = [
            worker_group.execute_single_async(rank, _meet, backend_config.backend, rank, world_size, url)
            for rank in range(world_size)
        ]
        ray.get(met)

    def on_shutdown(self, worker_group, backend_config: FileConfig) -> None:  # type: ignore[no-untyped-def, override]
        with suppress(GetTimeoutError):  # workers that do not answer are killed next
            parted: list[Any] = worker_group.execute_async(_part, len(worker_group) > 1)
            ray.get(parted, timeout=PART_S)


def _meet(backend: str, rank: int, world_size: int, url: str) -> None:
    from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group

    _set_torch_distributed_env_vars()
    _setup_torch_process_group(backend, rank, world_size, url)


def _part(several: bool) -> None:
    from ray.train.torch.config import _shutdown_torch

    _shutdown_torch(destroy_process_group=several)
