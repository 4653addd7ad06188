"""Ctrl-C and SIGTERM: both end a job in the same way, and it says at once that it heard."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from genrescale.telemetry.terminal import say

_STOPPING = (signal.SIGINT, signal.SIGTERM)


def _as_interrupt(*_: object) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a job that a script starts with &
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _forget_in_child() -> None:
    """A process forked from a job's, such as a decoder, ends as usual and does not speak for the job."""
    if signal.getsignal(signal.SIGTERM) is _as_interrupt:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget_in_child)


@contextmanager
def stoppable(job: str) -> Iterator[None]:
    """During the block, SIGTERM interrupts as Ctrl-C does, and the first of either is answered at once.

    A job may be in a long call when the signal arrives, or Ray Tune may hold the handler; so a thread answers, which
    Python wakes whatever the handlers are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard, told = os.pipe()
    os.set_blocking(told, False)
    listener = threading.Thread(target=_answer, args=(heard, job), name="signals", daemon=True)
    listener.start()
    waking = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    terminating = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, terminating)
        signal.set_wakeup_fd(waking)
        os.close(told)
        listener.join()
        os.close(heard)


def _answer(heard: int, job: str) -> None:
    answered = False
    while numbers := os.read(heard, 64):
        if not answered and set(numbers) & set(_STOPPING):
            if sys.stderr.isatty():
                sys.stderr.write("\n")  # below the line of progress
            say(f"{job}: stopping", sys.stderr)
            answered = True
