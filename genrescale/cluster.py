"""Connecting to Ray: the cluster a job was submitted to, or a private one on this machine."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Read by Ray when it is imported or when its processes start, so they are set before either.
_PRIVATE_ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",  # loopback only; without it ray writes a token into the home folder
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one process per run, for nodes that a cloud takes back
}
_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",  # how soon a report or the end of a run is noticed; 2 s by default
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # it prints every line of a worker twice
    "RAY_TRAIN_METRICS_ENABLED": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "PYTHONWARNINGS": "ignore",
    # glibc maps and unmaps each large activation anew; kept, a training step on a CPU takes a third less time
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
}
_LOGICAL_CPUS_PER_CORE = 2  # trials overlap one's start-up with another's training; threads per worker are fixed


def default_cpus() -> int:
    """Logical CPUs of a private cluster: twice the cores this process may use, at least 4."""
    return max(4, _LOGICAL_CPUS_PER_CORE * len(os.sched_getaffinity(0)))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def connect(num_cpus: int = 0) -> Iterator[None]:
    """Connect to the cluster this job was submitted to (``RAY_ADDRESS``), else start a private one and end it after.

    A private cluster has its own temporary folder and address, so another cluster on the machine, running or dead, is
    neither used nor disturbed. ``num_cpus`` are its logical CPUs (0: ``default_cpus``).
    """
    os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})
    if submitted := "RAY_ADDRESS" in os.environ:
        folder = ""
    else:
        os.environ.update(_PRIVATE_ENVIRONMENT)
        folder = tempfile.mkdtemp(prefix="genrescale-")
    import ray

    options: dict[str, Any] = (
        {"address": "auto"}
        if submitted
        else {
            "address": "local",
            "num_cpus": num_cpus or default_cpus(),
            # Without the dashboard's state API the end of every Ray Train run waits 12 s for an answer.
            "include_dashboard": True,
            "dashboard_host": "127.0.0.1",
            "dashboard_port": _free_port(),
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": folder,
        }
    )
    try:
        ray.init(logging_level=logging.WARNING, log_to_driver=False, **options)
        # A sweep tells of its failures itself, in a line each; the traces are under its tune/ folder.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        yield
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
