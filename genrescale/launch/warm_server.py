"""The process that forks the workers of a private Ray: ``python -m genrescale.launch.warm_server FILE MODULE ...``.

It imports the modules once, so that each of the ten processes of a run does not import Ray, PyTorch and pandas for
itself (2 to 8 seconds of a core each). It listens on the socket that it inherits as FILE, runs no threads of its own,
because it forks, and ends when its standard input is closed, as it is when the job ends.

Ray reads which raylet and which job a worker belongs to once, when it is imported. So Ray is imported here when a line
of the standard input has told both, and workers of another job are refused.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from genrescale.launch.warm_client import FILES, REFUSED, TAKEN

READ_ONCE = ("RAY_RAYLET_PID", "RAY_JOB_ID")
_MOST_BYTES = 1 << 24
_PATIENCE_S = 60.0


def serve(listener: socket.socket) -> None:
    """Fork a worker for each client until the standard input is closed. In a worker it never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no worker is waited for
    gc.collect()
    gc.freeze()  # a worker's collector need not touch, and so copy, what was there before it
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        client, _ = listener.accept()
        if os.fork():
            client.close()
            continue
        listener.close()
        _become(client)


def _become(client: socket.socket) -> None:
    """The fork: it becomes the worker that the client was started as."""
    status = 1
    try:
        client.settimeout(_PATIENCE_S)
        size, files, *_ = socket.recv_fds(client, 8, FILES)
        data = b""
        while len(data) < min(int.from_bytes(size), _MOST_BYTES) and (part := client.recv(1 << 16)):
            data += part
        client.settimeout(None)  # it stays open as long as the worker lives: the client waits for its end
        request: dict[str, Any] = json.loads(data)
        if any(request["environment"].get(name) != os.environ[name] for name in READ_ONCE):
            client.sendall(REFUSED)
            return
        client.sendall(TAKEN)
        for place, file in enumerate(files):
            os.dup2(file, place)
            os.close(file)
        os.setsid()
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, request["mask"])
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(request["oom_score"])
        _renew()
        sys.argv = request["arguments"]
        sys.path[0] = os.path.dirname(sys.argv[0])
        runpy.run_path(sys.argv[0], run_name="__main__")
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _renew() -> None:
    """Give a fork random numbers of its own in NumPy, and Ray the settings that it was started with."""
    import numpy as np

    np.random.seed()
    from ray import _raylet

    raylet: Any = _raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _no_random_ids() -> Iterator[None]:
    """Import modules without Ray's generator of random ids, whose state all forks would share, and so their ids.

    Ray draws one id for each class of actors. Those may be the same in all forks: the classes are, too.
    """
    from ray import actor as rays
    from ray._raylet import ActorClassID

    actor: Any = rays

    class Own:
        @staticmethod
        def from_random() -> ActorClassID:
            return ActorClassID(os.urandom(ActorClassID.size()))

    before = actor.ActorClassID
    actor.ActorClassID = Own
    try:
        yield
    finally:
        actor.ActorClassID = before


def main(file: int, modules: list[str]) -> None:
    """Import the modules before Ray's, wait for the line, import the others, and serve."""
    with socket.socket(fileno=file) as listener:
        early = modules[: modules.index("ray")] if "ray" in modules else modules
        for name in early:
            importlib.import_module(name)
        if late := modules[len(early) :]:
            if not (line := sys.stdin.readline()):
                return
            os.environ.update(json.loads(line))
            with _no_random_ids():
                for name in late:
                    importlib.import_module(name)
        serve(listener)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
