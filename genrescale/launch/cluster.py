"""Connecting to Ray: the cluster a job was submitted to, or a private one on this machine."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from genrescale.launch.private_ray import LIMITS_S, private_folder, reason, replaced, start
from genrescale.launch.warm_start import WarmWorkers, warm_workers
from genrescale.launch.worker_logs import worker_lines_kept
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
    "RAY_gcs_server_port_wait_time_s": str(LIMITS_S[-1]),
    "RAY_prestart_worker_first_driver": "0",  # workers that belong to no job are started again for the first one
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
_API_SERVER = "RAY_API_SERVER_ADDRESS"
UNDER_WAY = "the job had started"  # a note on what ends a job once it may have done something
_LOGICAL_CPUS_PER_CORE = 2  # trials overlap one's start-up with another's training; threads per worker are fixed


def logical_cpus(num_cpus: int = 0) -> int:
    """Logical CPUs of a private cluster; for 0, twice the cores this process may use, at least 4.

    Raises ValueError for a negative number.
    """
    if num_cpus < 0:
        raise ValueError(f"cpus={num_cpus} must be 0 or more; 0 means as many as this machine suggests")
    return num_cpus or max(4, _LOGICAL_CPUS_PER_CORE * len(os.sched_getaffinity(0)))


@contextmanager
def under_way() -> Iterator[None]:
    """Note on an exception that the job had started: it is no request that could be refused."""
    try:
        yield
    except Exception as error:
        error.add_note(UNDER_WAY)
        raise


def _api_port() -> int:
    """A free port for Ray's API server, of which Ray's processes read in their environment.

    Otherwise they look for a Ray on this machine, and give up if there are two: then the placement group of a trial
    that is stopped would never be freed.
    """
    port = _free_port()
    os.environ[_API_SERVER] = f"http://127.0.0.1:{port}"
    return port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def connect(num_cpus: int = 0, trains: bool = False, verbose: bool = False) -> Iterator[None]:
    """Connect to the cluster this job was submitted to (``RAY_ADDRESS``), else start a private one and end it after.

    A private cluster has its own temporary folder and address, so another cluster on the machine, running or dead, is
    neither used nor disturbed. Nobody else gets in: its servers listen on loopback and ask for a random token, which
    only the environment of its own processes holds. ``num_cpus`` are its logical CPUs (``logical_cpus``);
    ``trains`` gives it what Ray Train needs. With ``verbose``, stderr has what Ray and its workers write, DeepSpeed
    among them; without, only Ray's logs have it. Raises ConnectionError where ``RAY_ADDRESS`` leads nowhere, and
    RayStartError where a private cluster does not start.
    """
    ours = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    with ExitStack() as closing:
        folder, warm = "", WarmWorkers()
        if "RAY_ADDRESS" in os.environ:
            options = _submitted_options(ours)
        else:
            # Ray opens its own folder to every user, so it lies in one that only this user may enter
            folder = closing.enter_context(private_folder())
            ours |= _PRIVATE_ENVIRONMENT | {"RAY_AUTH_TOKEN": secrets.token_hex(32), RENDEZVOUS: f"{folder}/rendezvous"}
            ours[_API_SERVER] = ""  # until its port is known
            options = _private_options(f"{folder}/ray", num_cpus, trains)
        closing.enter_context(_environment(ours))
        if folder:
            warm = closing.enter_context(warm_workers(folder, trains))
            closing.enter_context(_environment(warm.environment))
        closing.enter_context(_read_again(private=bool(folder)))
        import ray

        closing.callback(ray.shutdown)
        closing.enter_context(_without_worker_warnings())
        with _own_sigterm():
            _init(options, verbose)
        warm.begin()
        if not verbose:
            # A sweep reports its failures itself, one line each; the traces are under its tune/ folder.
            logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        with under_way(), worker_lines_kept():
            yield


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


def nodes_ahead(num_cpus: int = 0) -> list[dict[str, float]]:
    """The nodes that a job would run on, without starting a cluster: this machine, or those at ``RAY_ADDRESS``."""
    if "RAY_ADDRESS" in os.environ:
        with connect():
            return cluster_nodes()
    import torch

    return [{"CPU": float(logical_cpus(num_cpus)), "GPU": float(torch.cuda.device_count())}]


def _init(options: Mapping[str, Any], verbose: bool) -> None:
    import ray

    level = logging.INFO if verbose else logging.WARNING
    quiet = {"logging_level": level, "log_to_driver": verbose}
    if "RAY_ADDRESS" not in os.environ:
        # What Ray says of a start that fails is many lines; the reason is in its exception.
        # Each try has a port of its own: another process may have taken the first one.
        start(lambda: ray.init(**quiet | {"logging_level": logging.CRITICAL}, **options, dashboard_port=_api_port()))
        logging.getLogger("ray").setLevel(level)
    else:
        _join(lambda: ray.init(**quiet, **options))


def _join(init: Callable[[], object]) -> None:
    """Connect to the cluster at ``RAY_ADDRESS``. Raises ConnectionError if it does not answer."""
    from ray._private.authentication.authentication_utils import is_token_auth_enabled
    from ray.exceptions import RayError

    address = os.environ["RAY_ADDRESS"]
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdigit() and "/" not in host:
            # Ray itself asks a dead address for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        init()
    except (ConnectionError, TimeoutError, socket.gaierror) as error:
        raise ConnectionError(f"no Ray cluster answers at RAY_ADDRESS={address} ({error})") from None
    except (RuntimeError, RayError) as error:  # another version of Ray or Python, or another token
        raise ConnectionError(f"the Ray cluster at RAY_ADDRESS={address} does not let in ({reason(error)})") from None
    if not is_token_auth_enabled():
        say(UNGUARDED, sys.stderr)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Ray keeps this process's handler of SIGTERM, if it has one: Ray's own prints stacks and ends it in the middle."""
    from ray._private import utils

    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    with replaced(utils, "set_sigterm_handler", lambda _: None):
        yield
    signal.signal(signal.SIGTERM, before)  # Ray's C++ code took it too


@contextmanager
def _without_worker_warnings() -> Iterator[None]:
    """Ray counts worker processes and warns of many or late ones; a sweep has many, and a busy machine late ones."""
    from ray._private import worker

    shown = worker.print_to_stdstream

    def show(data: Mapping[str, Any], **options: Any) -> None:
        if data.get("pid") != "raylet" or not any("worker process" in line for line in data["lines"]):
            shown(data, **options)

    with replaced(worker, "print_to_stdstream", show):
        yield


def check_gpu(wanted: bool, setting: str) -> None:
    """Raises ValueError if a GPU of this machine is wanted that PyTorch does not find; a cluster tells its own."""
    if wanted and "RAY_ADDRESS" not in os.environ:
        import torch

        if not torch.cuda.is_available():
            raise ValueError(
                f"{setting}=true, but PyTorch finds no GPU on this machine; leave {setting} out to use the CPUs, "
                "or see what nvidia-smi and CUDA_VISIBLE_DEVICES say"
            )


def _private_options(folder: str, num_cpus: int, trains: bool) -> dict[str, Any]:
    return {
        "address": "local",
        "num_cpus": logical_cpus(num_cpus),
        # Without the dashboard's state API the end of every Ray Train run waits 12 s for an answer; its nine processes
        # cost other jobs seconds for nothing.
        "include_dashboard": trains,
        "dashboard_host": "127.0.0.1",
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
