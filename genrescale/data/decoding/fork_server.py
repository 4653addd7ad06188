"""The process that starts every decoder: ``python -m genrescale.data.decoding.fork_server SOCKET``.

It has the modules loaded, one thread and no environment, so it can fork at any moment, and a fork takes 3 ms. Each
request (``isolated.py`` sends them) comes with three open files: the song, the pipe for its samples and a file for
messages. The fork limits itself (``confine.py``), makes them its standard input, output and error, and becomes
libsndfile (``sndfile.py``) or ffmpeg.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
import traceback

from genrescale.data.decoding import confine, sndfile
from genrescale.data.decoding.isolated import Reply, Request, library_path

_FILES = 3
_CONTROL = 3  # the number of the socket
_REQUEST_BYTES = 1 << 16


def serve(control: socket.socket) -> None:
    """Answer requests, one after the other, until the other end of ``control`` is closed."""
    ended, sink = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(sink, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # the end of a child is a byte in the pipe
    sndfile.warm_up()
    while True:
        data, files, *_ = socket.recv_fds(control, _REQUEST_BYTES, _FILES)
        if not data:
            return
        request = Request(**json.loads(data))
        if not (child := os.fork()):
            _become(request, files)
        for file in files:
            os.close(file)
        reply = _wait(child, request.limit_s, control, ended)
        try:
            control.send(reply.to_json())
        except BrokenPipeError:
            return


def _become(request: Request, files: list[int]) -> None:
    """The child: it never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for place, file in enumerate(files):
            os.dup2(file, place)
        os.closerange(_FILES, confine.MAX_OPEN_FILES)  # more than this process ever opens
        os.lseek(0, 0, os.SEEK_SET)  # the decoder before has read it, maybe
        confine.limit(request.limit_s, request.memory)
        confine.forbid(files=not request.command)
        if request.command:
            os.execve(request.command[0], request.command, library_path())
        status = sndfile.main(request.longest_s, request.excerpt)
    except BrokenPipeError:  # nobody wants more of it
        pass
    except BaseException as error:
        os.write(2, "".join(traceback.format_exception_only(error)).encode(errors="replace"))
    finally:
        os._exit(status)


def _wait(child: int, limit_s: float, control: socket.socket, ended: int) -> Reply:
    """Wait for the child, and end it when its time is over or when nobody waits for its answer any more."""
    watched, deadline = select.poll(), time.monotonic() + limit_s
    watched.register(ended, select.POLLIN)
    watched.register(control, select.POLLHUP)
    while True:
        events = dict(watched.poll(1000 * max(0.0, deadline - time.monotonic())))
        if ended in events:
            os.read(ended, _REQUEST_BYTES)
        if not events or control.fileno() in events:
            os.kill(child, signal.SIGKILL)
        elif os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            continue  # it was stopped, or the byte is of the child before
        return Reply(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), late=not events)


if __name__ == "__main__":
    # as for any other program: Python ignores these, and what is started would inherit that
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    # a low number, as all that this process opens: a decoder closes those below MAX_OPEN_FILES, this one too
    if (given := int(sys.argv[1])) != _CONTROL:
        os.dup2(given, _CONTROL, inheritable=False)
        os.close(given)
    with socket.socket(fileno=_CONTROL) as own:
        serve(own)
