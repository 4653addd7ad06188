"""What a private Ray starts as a worker: it hands its place to a fork of the process that has everything imported.

A script that imports nothing of Ray: its only work is to send its arguments, its environment and its open files
(``warm_server.py`` receives them). Where that process is not there, or a runtime environment wants more than variables,
the worker starts as Ray itself would start it.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path

SOCKET = "GENRESCALE_WARM_WORKERS"  # where the server listens
COLD = "GENRESCALE_COLD_WORKER"  # Ray's own script that starts a worker
TAKEN, REFUSED = b"1", b"0"
FILES = 3
_NO_JOB = "ffffffff"  # of workers that Ray starts before there is a job; it waits for them
_CONTEXT = "--serialized-runtime-env-context="
_PLAIN = {"env_vars", "py_executable"}


def variables(arguments: list[str]) -> dict[str, str] | None:
    """The variables of a worker's runtime environment; None if it wants more than those."""
    wanted: dict[str, str] = {}
    for argument in arguments:
        if argument.startswith(_CONTEXT):
            context = json.loads(argument.removeprefix(_CONTEXT) or "{}")
            other = {name for name, value in context.items() if value and name not in _PLAIN}
            if other or context.get("py_executable", sys.executable) != sys.executable:
                return None
            wanted = context.get("env_vars") or {}
    return wanted


def hand_over(arguments: list[str]) -> bool:
    """Have the worker forked. Returns whether it was, after it has ended."""
    if (wanted := variables(arguments)) is None or os.environ.get("RAY_JOB_ID") == _NO_JOB:
        return False
    request = {
        "arguments": [argument for argument in arguments if not argument.startswith((_CONTEXT, "--language="))],
        "environment": {**os.environ, **wanted},
        "folder": os.getcwd(),
        "mask": sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "oom_score": Path("/proc/self/oom_score_adj").read_text(),
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        try:
            server.connect(os.environ[SOCKET])
        except (OSError, KeyError):
            return False
        data = json.dumps(request).encode()
        socket.send_fds(server, [len(data).to_bytes(8)], [0, 1, 2])
        server.sendall(data)
        try:
            if server.recv(1) != TAKEN:
                return False
            server.recv(1)  # until the worker has ended
        except ConnectionError:
            return False
    return True


if __name__ == "__main__":
    if not hand_over(sys.argv[1:]):
        os.execv(sys.executable, [sys.executable, os.environ[COLD], *sys.argv[1:]])
