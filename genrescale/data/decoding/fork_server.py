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
import traceback

from genrescale.data.decoding import confine, sndfile
from genrescale.data.decoding.isolated import CANNOT_START, Reply, Request, library_path

_FILES = 3
_REQUEST_BYTES = 1 << 16


def serve(control: socket.socket) -> None:
    """Answer requests, one after the other, until the other end of ``control`` is closed."""
    sndfile.warm_up()
    while True:
        data, files, *_ = socket.recv_fds(control, _REQUEST_BYTES, _FILES)
        if not data:
            return
        request = Request(**json.loads(data))
        if not (child := os.fork()):
            _become(request, control, files)
        for file in files:
            os.close(file)
        reply = _wait(child, request.limit_s, control)
        try:
            control.send(reply.to_json())
        except BrokenPipeError:
            return


def _become(request: Request, control: socket.socket, files: list[int]) -> None:
    """The child: it never returns."""
    status = 1
    try:
        control.close()
        for place, file in enumerate(files):
            os.dup2(file, place)
        os.closerange(_FILES, max(files) + 1)
        os.lseek(0, 0, os.SEEK_SET)  # the decoder before has read it, maybe
        confine.limit(request.limit_s, request.memory)
        confine.forbid(files=not request.command)
        if request.command:
            status = CANNOT_START
            os.execve(request.command[0], request.command, library_path())
        status = sndfile.main(request.longest_s, request.excerpt)
    except BrokenPipeError:  # nobody wants more of it
        pass
    except BaseException as error:
        os.write(2, "".join(traceback.format_exception_only(error)).encode(errors="replace"))
    finally:
        os._exit(status)


def _wait(child: int, limit_s: float, control: socket.socket) -> Reply:
    """Wait for the child, and end it when its time is over or when nobody waits for its answer any more."""
    process, watched = os.pidfd_open(child), select.poll()
    watched.register(process, select.POLLIN)
    watched.register(control, select.POLLHUP)
    try:
        events = dict(watched.poll(1000 * limit_s))
    finally:
        os.close(process)
    if process not in events:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return Reply(os.waitstatus_to_exitcode(status), late=not events)


if __name__ == "__main__":
    # as for any other program: Python ignores these, and what is started would inherit that
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    with socket.socket(fileno=int(sys.argv[1])) as own:
        serve(own)
