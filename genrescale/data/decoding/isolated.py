"""Decoders run apart: a process for every song, with the opened file and nothing else of this process.

A song may be made to take over its decoder. That has no environment (no keys of an object store), limits and a filter
of system calls (``confine.py``), and ends with its song; a crash, a hang or a wish for all memory is that song's end
only. ``fork_server.py``, a child that is started once for each process that decodes, forks them.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from typing import IO

START_LIMIT_S = 60.0
"""Seconds that a fork server may take besides decoding, on a machine that is busy."""
_BLOCK_BYTES = 1 << 20
_LOG_BYTES = 4096


@dataclass(frozen=True)
class Request:
    """A song to decode within ``limit_s`` seconds of wall time and ``memory`` bytes of address space.

    By ``command``, or by libsndfile where that is empty. ``longest_s`` and ``excerpt`` are what ``sndfile.main`` takes.
    """

    limit_s: float
    memory: int
    command: tuple[str, ...] = ()
    longest_s: float = 0.0
    excerpt: bool = False

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class Reply:
    """How a decoder ended: its exit status (negative: the signal), and whether it was stopped for its time."""

    status: int
    late: bool

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class Decoding:
    """A decoder at work; ``reply`` and ``log`` (the end of its messages) are known when the block of ``running`` ends.

    Each read waits until the deadline at most, also for a decoder that cannot be ended (in a network mount that hangs).
    """

    def __init__(self, pipe: int, deadline: float) -> None:
        self._pipe, self._deadline = pipe, deadline
        self.reply, self.log = Reply(0, late=False), ""

    def blocks(self) -> Iterator[bytes]:
        """What it writes, as it comes."""
        while _readable(self._pipe, self._deadline) and (data := os.read(self._pipe, _BLOCK_BYTES)):
            yield data


@contextmanager
def running(request: Request, song: int) -> Iterator[Decoding]:
    """Decode the open file ``song``. Raises ChildProcessError where no process can be had for it."""
    deadline = time.monotonic() + request.limit_s + START_LIMIT_S
    server = _server(os.getpid())  # a forked process may not use its parent's
    with server.lock, tempfile.TemporaryFile() as log:
        pipe = server.ask(request, song, log)
        decoding = Decoding(pipe, deadline)
        try:
            yield decoding
        except BaseException:
            server.stop()  # ends the decoder, too
            raise
        finally:
            os.close(pipe)
        decoding.reply, decoding.log = server.answer(deadline), _tail(log)


class _Server:
    """The fork server of this process; it ends when its socket is closed, by ``stop`` or with this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._socket: socket.socket | None = None

    def ask(self, request: Request, song: int, log: IO[bytes]) -> int:
        """The pipe that the samples come from. A server that died meanwhile is started anew."""
        source, sink = os.pipe()
        try:
            with suppress(OSError):  # more than a user may have, where many others have done so: the usual size will do
                fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, _BLOCK_BYTES)
            files = [song, sink, log.fileno()]
            try:
                socket.send_fds(self._started(), [request.to_json()], files)
            except (BrokenPipeError, ConnectionResetError):
                self.stop()
                socket.send_fds(self._started(), [request.to_json()], files)
        except BaseException:
            os.close(source)
            raise
        finally:
            os.close(sink)
        return source

    def answer(self, deadline: float) -> Reply:
        assert self._socket is not None
        in_time, data = _readable(self._socket.fileno(), deadline), b""
        with suppress(ConnectionResetError):
            data = self._socket.recv(_LOG_BYTES) if in_time else b""
        if data:
            return Reply(**json.loads(data))
        self.stop()
        if not in_time:
            return Reply(0, late=True)
        raise ChildProcessError(f"the process that starts decoders has ended: {_tail(self._log) or 'no message'}")

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _started(self) -> socket.socket:
        if self._socket is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._log = tempfile.TemporaryFile()  # noqa: SIM115
            command = [sys.executable, "-P", "-s", "-m", "genrescale.data.decoding.fork_server", str(theirs.fileno())]
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=self._log,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            self._socket = ours
        return self._socket


@cache
def _server(process: int) -> _Server:
    return _Server()


def library_path() -> dict[str, str]:
    """The one variable that decoders get, where it is set: without it their libraries may not be found."""
    return {"LD_LIBRARY_PATH": found} if (found := os.environ.get("LD_LIBRARY_PATH")) else {}


def _environment() -> dict[str, str]:
    """The fork server's.

    -P and PYTHONPATH: it finds the modules that this process found, and none in the folder that it runs in. One thread:
    each further one reserves address space.
    """
    return {**library_path(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}


def _readable(file: int, deadline: float) -> bool:
    watched = select.poll()
    watched.register(file, select.POLLIN)
    return bool(watched.poll(1000 * max(0.0, deadline - time.monotonic())))


def _tail(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BYTES))
    return log.read().decode(errors="replace").strip()
