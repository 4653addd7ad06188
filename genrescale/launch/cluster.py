"""Connecting to Ray: the cluster a job was submitted to, or a private one on this machine."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from genrescale.telemetry.terminal import say

# Read by Ray's processes when they start.
_PRIVATE_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    # Despite its name it acts on every system: without a cluster, all of Ray's servers listen on loopback alone.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "GLOO_SOCKET_IFNAME": "lo",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one process per run, for nodes that a cloud takes back
    "RAY_worker_niceness": "0",  # beside the job's own; with Ray's 15 its workers starve beside any other program
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
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # what Ray sets in the driver of a submitted job
STORE_PREFIX = "AWS_"
RENDEZVOUS = "GENRESCALE_RENDEZVOUS"  # a folder of the private cluster where its workers find each other
UNGUARDED = (
    "[ray] this cluster has no authentication: whoever reaches its ports runs code as its user and reads the keys of "
    "the object store; start it with RAY_AUTH_MODE=token"
)
UNDER_WAY = "the job had started"  # a note on what ends a job once it may have done something
_LOGICAL_CPUS_PER_CORE = 2  # trials overlap one's start-up with another's training; threads per worker are fixed


def default_cpus() -> int:
    """Logical CPUs of a private cluster: twice the cores this process may use, at least 4."""
    return max(4, _LOGICAL_CPUS_PER_CORE * len(os.sched_getaffinity(0)))


@contextmanager
def under_way() -> Iterator[None]:
    """Note on an exception that the job had started: it is no request that could be refused."""
    try:
        yield
    except Exception as error:
        error.add_note(UNDER_WAY)
        raise


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def connect(num_cpus: int = 0, trains: bool = False) -> Iterator[None]:
    """Connect to the cluster this job was submitted to (``RAY_ADDRESS``), else start a private one and end it after.

    A private cluster has its own temporary folder and address, so another cluster on the machine, running or dead, is
    neither used nor disturbed. Nobody else gets in: its servers listen on loopback and ask for a random token, which
    only the environment of its own processes holds. ``num_cpus`` are its logical CPUs (0: ``default_cpus``);
    ``trains`` gives it what Ray Train needs. Raises ConnectionError where ``RAY_ADDRESS`` leads nowhere.
    """
    ours = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    with ExitStack() as closing:
        if "RAY_ADDRESS" in os.environ:
            options = _submitted_options(ours)
        else:
            # Ray opens its own folder to every user, so it lies in one that only this user may enter
            folder = closing.enter_context(_private_folder())
            ours |= _PRIVATE_ENVIRONMENT | {"RAY_AUTH_TOKEN": secrets.token_hex(32), RENDEZVOUS: f"{folder}/rendezvous"}
            options = _private_options(f"{folder}/ray", num_cpus, trains)
        closing.enter_context(_environment(ours))
        closing.enter_context(_read_again(private=RENDEZVOUS in ours))
        import ray

        closing.callback(ray.shutdown)
        _init(options)
        # A sweep reports its failures itself, one line each; the traces are under its tune/ folder.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        with under_way():
            yield


@contextmanager
def _private_folder() -> Iterator[str]:
    """A temporary folder of mode 0700. Raises OSError where its sockets' paths would be too long for the system."""
    folder = tempfile.mkdtemp(prefix="genrescale-")
    os.mkdir(f"{folder}/rendezvous", 0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """``os.environ`` with ``values``, as it was before afterwards: a token must not outlive its cluster."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _read_again(private: bool) -> Iterator[None]:
    """Ray with the environment of now: it has read its settings when it was imported, before this cluster's were known.

    The settings of authentication are not read once more at the end: threads that still drain would miss their token.
    """
    from ray import _raylet  # its stub lacks what is taken here
    from ray._private import ray_constants

    raylet: Any = _raylet

    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = before and not private
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def cluster_nodes() -> list[dict[str, float]]:
    """The resources of every living node of the connected cluster."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _init(options: Mapping[str, Any]) -> None:
    import ray
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdigit() and "/" not in host:
            # Ray itself asks a dead address for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(logging_level=logging.WARNING, log_to_driver=False, **options)
        if not is_token_auth_enabled():
            say(UNGUARDED, sys.stderr)
    except (ConnectionError, TimeoutError, socket.gaierror) as error:
        raise ConnectionError(f"no Ray cluster answers at RAY_ADDRESS={address or 'local'} ({error})") from None


def _private_options(folder: str, num_cpus: int, trains: bool) -> dict[str, Any]:
    return {
        "address": "local",
        "num_cpus": num_cpus or default_cpus(),
        # Without the dashboard's state API the end of every Ray Train run waits 12 s for an answer; its nine processes
        # cost other jobs seconds for nothing.
        "include_dashboard": trains,
        "dashboard_host": "127.0.0.1",
        "dashboard_port": _free_port(),
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": folder,
    }


def _submitted_options(environment: Mapping[str, str]) -> dict[str, Any]:
    """The nodes run already: what their processes need of this one's environment travels in the runtime environment.

    The keys of the object store go as a setup function and not as ``env_vars``, which Ray writes into its logs.
    """
    runtime_env: dict[str, Any] = {"env_vars": dict(environment)}
    if keys := {name: value for name, value in os.environ.items() if name.startswith(STORE_PREFIX)}:
        runtime_env["worker_process_setup_hook"] = _environment_setter(keys)
    return {"address": "auto", "runtime_env": runtime_env}


def _environment_setter(values: Mapping[str, str]) -> Callable[[], None]:
    # A function inside a function: Ray sends it by value, so it runs before the job's own code can be imported.
    def set_environment() -> None:
        import os

        os.environ.update(values)

    return set_environment
