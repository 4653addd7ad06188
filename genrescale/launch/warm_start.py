"""Workers of a private Ray that start in a fraction of a second: forks of one process with everything imported.

Ray starts each worker, each controller and each small actor of a run as a new Python, which imports Ray, PyTorch and
pandas again. On a cluster of several machines workers start as Ray starts them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from genrescale.launch import warm_client
from genrescale.launch.private_ray import replaced
from genrescale.launch.warm_server import READ_ONCE

# what does not import Ray comes first: it is imported while Ray starts
_FOR_DATA = ("pandas", "pyarrow.parquet", "genrescale.data.sharding.writer", "ray")
_FOR_TRAINING = (
    *("pandas", "pyarrow.parquet", "torch", "genrescale.training.assemble", "genrescale.training.resolve"),
    *("ray", "ray.data", "ray.tune", "ray.train", "ray.train.torch", "genrescale.launch.worker", "deepspeed"),
)
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd")
_ENDING_S = 10.0


def can_fork() -> bool:
    """Whether workers may be forks: not where there is a GPU, whose driver a forked process may not use."""
    return sys.platform == "linux" and not any(map(os.path.exists, _GPU_DEVICES))


@dataclass(frozen=True)
class WarmWorkers:
    """What Ray's processes need in their environment, and the process that forks workers; None where there is none."""

    environment: dict[str, str] = field(default_factory=dict)
    server: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Tell the process which raylet and job its workers belong to, once Ray has started. Until then they wait."""
        if self.server is None or self.server.stdin is None:
            return
        import ray
        from ray._private import worker

        node: Any = worker.global_worker.node
        [raylet] = node.all_processes["raylet"]
        told = zip(READ_ONCE, (str(raylet.process.pid), ray.get_runtime_context().get_job_id()), strict=True)
        with suppress(BrokenPipeError):  # it has ended, and workers start as Ray starts them
            self.server.stdin.write(json.dumps(dict(told)).encode() + b"\n")
            self.server.stdin.flush()


@contextmanager
def warm_workers(folder: str, trains: bool) -> Iterator[WarmWorkers]:
    """Start the process that forks the workers of a Ray that is started in the block.

    ``folder`` is one that only this user may enter.
    """
    if not can_fork():
        yield WarmWorkers()
        return
    from ray._private import workers

    path, modules = f"{folder}/warm", _FOR_TRAINING if trains else _FOR_DATA
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, open(f"{folder}/warm.log", "wb") as log:
        listener.bind(path)
        listener.listen(64)
        server = subprocess.Popen(
            [sys.executable, "-m", "genrescale.launch.warm_server", str(listener.fileno()), *modules],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            stdout=log,  # what modules say when they are imported
            stderr=log,
            # Read when PyTorch and DeepSpeed are imported, so Ray cannot set them later: a worker has as many threads
            # as it asks for, and there is no GPU to look for.
            env={"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", **os.environ},
            start_new_session=True,  # Ctrl-C is for the job, which ends it
        )
    try:
        [ray_scripts] = workers.__path__
        with _started_by(warm_client.__file__):
            environment = {warm_client.SOCKET: path, warm_client.COLD: f"{ray_scripts}/setup_worker.py"}
            yield WarmWorkers(environment, server)
    finally:
        assert server.stdin is not None
        server.stdin.close()
        try:
            server.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def _started_by(script: str) -> Iterator[None]:
    """A Ray that is started in the block starts its workers by another script than its own."""
    from ray._private import parameter

    with replaced(parameter, "RayParams", partial(parameter.RayParams, setup_worker_path=script)):
        yield
