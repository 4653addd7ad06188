"""How the workers of a run find each other: through Ray Train's TCP store, on a private cluster through a file.

PyTorch's TCP store listens on every interface and serves whoever connects. A private cluster is one machine, so its
workers meet in a file of a folder that only this user may enter.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend

from genrescale.launch.cluster import RENDEZVOUS


def torch_config(use_gpu: bool) -> TorchConfig:
    """The process group of a run: NCCL on GPUs, Gloo on CPUs."""
    backend = "nccl" if use_gpu else "gloo"
    if folder := os.environ.get(RENDEZVOUS):
        return FileTorchConfig(backend=backend, folder=folder)
    return TorchConfig(backend=backend)


@dataclass
class FileTorchConfig(TorchConfig):
    """A TorchConfig whose workers, all on this machine, meet in a new file of ``folder``."""

    folder: str = ""

    @property
    def backend_cls(self) -> type[_FileBackend]:
        return _FileBackend


class _FileBackend(_TorchBackend):
    def on_start(self, worker_group, backend_config: FileTorchConfig) -> None:  # type: ignore[no-untyped-def, override]
        """Form the process group; a restarted attempt meets in another file."""
        url = f"file://{backend_config.folder}/{uuid.uuid4().hex}"
        world_size = len(worker_group)
        worker_group.execute(_set_torch_distributed_env_vars)
        formed: list[Any] = [
            worker_group.execute_single_async(
                rank,
                _setup_torch_process_group,
                backend=backend_config.backend,
                world_rank=rank,
                world_size=world_size,
                init_method=url,
                timeout_s=backend_config.timeout_s,
            )
            for rank in range(world_size)
        ]
        ray.get(formed)
