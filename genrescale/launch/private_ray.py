"""Start a private Ray on a machine that may be busy: in a short folder, with patience, and with nothing left behind."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from genrescale.display.text import short_name
from genrescale.telemetry.terminal import say

LIMITS_S = (30, 90)
"""How long Ray's processes may take to start: at first as Ray itself allows, then as a busy machine may need."""
_PREFIX = "gr-"  # short, so that a TMPDIR of 20 bytes is short enough
_LONGEST_BELOW = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/dash_TaskEventsHead"
_SOCKET_LEN = 103 if sys.platform == "darwin" else 107  # bytes of a socket's path
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
_REMOVALS, _REMOVAL_PAUSE_S = 50, 0.1
_REASON_LEN = 160


class RayStartError(RuntimeError):
    """Ray did not start here; the same command may work when the machine is less busy."""


@contextmanager
def private_folder() -> Iterator[str]:
    """A temporary folder of mode 0700. Raises ValueError where the paths of Ray's sockets would be too long in it."""
    folder = tempfile.mkdtemp(prefix=_PREFIX, dir=_short_folder())
    os.mkdir(f"{folder}/rendezvous", 0o700)
    try:
        yield folder
    finally:
        _remove(folder)


def _short_folder() -> str:
    """TMPDIR, or a folder of the system where it is too long, as on clusters with a TMPDIR for each job."""
    wanted = tempfile.gettempdir()
    room = _SOCKET_LEN - len(f"/{_PREFIX}12345678{_LONGEST_BELOW}")
    for folder in (wanted, *_SHORT_FOLDERS):
        if len(os.fsencode(folder)) <= room and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            if folder != wanted:
                say(f"[ray] TMPDIR={wanted} is too long for Ray's sockets: Ray's files lie in {folder}", sys.stderr)
            return folder
    raise ValueError(f"TMPDIR={wanted} is too long for Ray's sockets; set TMPDIR to one of at most {room} bytes")


def _remove(folder: str) -> None:
    """Remove a folder in which ended processes may still write a last line."""
    for _ in range(_REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):
            return
        time.sleep(_REMOVAL_PAUSE_S)


def start(init: Callable[[], object]) -> None:
    """Start Ray by ``init``; if that fails, once more and with more patience.

    Raises RayStartError if Ray does not start then either, and ValueError for options that cannot be.
    """
    import ray

    reasons = []
    for limit_s in LIMITS_S:
        try:
            with _patience(limit_s), _ended_if_it_fails():
                init()
            return
        except ValueError:
            raise
        except Exception as error:  # Ray raises plain Exceptions and RuntimeErrors here
            reasons.append(reason(error))
            ray.shutdown()
        if len(reasons) < len(LIMITS_S):
            say(f"[ray] Ray did not start ({reasons[-1]}); once more, with more time", sys.stderr)
    raise RayStartError(
        f"Ray did not start on this machine, tried {len(LIMITS_S)} times ({reasons[-1]}); "
        "when the machine is less busy, the same command continues"
    )


def reason(error: BaseException) -> str:
    """The first line of what Ray says."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return short_name(line.rstrip("."), _REASON_LEN)


@contextmanager
def _patience(limit_s: int) -> Iterator[None]:
    """Ray's limits of its own start, as attributes and constants that it reads when it starts."""
    from ray._private import ray_constants, services

    get_node = services.get_node

    def patient_get_node(*args: Any, **named: Any) -> Any:
        end = time.monotonic() + limit_s
        while True:
            try:
                return get_node(*args, **named)
            except RuntimeError:  # the node is not there yet
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    with ExitStack() as values:
        values.enter_context(replaced(services, "get_node", patient_get_node))
        for name in ("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "NUM_REDIS_GET_RETRIES"):
            values.enter_context(replaced(ray_constants, name, max(limit_s, getattr(ray_constants, name))))
        yield


@contextmanager
def _ended_if_it_fails() -> Iterator[None]:
    """End the processes of a node that does not start: Ray forgets such a node, and they would go on."""
    from ray._private import node

    started: list[Any] = []
    original = node.Node

    class Remembered(original):
        def __init__(self, *args: Any, **named: Any) -> None:
            started.append(self)
            super().__init__(*args, **named)

    with replaced(node, "Node", Remembered):
        try:
            yield
        except BaseException:
            for each in started:
                with suppress(Exception):  # of what was not started
                    each.kill_all_processes(check_alive=False, allow_graceful=False)
            raise


@contextmanager
def replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """An attribute with another value during the block."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
