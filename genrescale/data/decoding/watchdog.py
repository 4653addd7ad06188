"""The end of a decoder that hangs: no exception reaches code that never returns to Python, so its process has to die.

The time limit of ``decoders.py`` is looked at between blocks, and ffmpeg is killed by a timer. Neither helps where a
single call never ends: a library in an endless loop, a network mount that went away. Then the task of the shard dies,
and its second attempt (``isolated.py``) names the song.
"""

from __future__ import annotations

import faulthandler
import signal
from collections.abc import Iterator
from contextlib import contextmanager

HANG_LIMIT_S = 150.0
"""Seconds of wall time for a song: twice DECODE_LIMIT_S, for two decoders, and a margin for a machine that is busy."""
_STDERR = 2


@contextmanager
def deadline() -> Iterator[None]:
    """This process dies, with all stacks on its stderr, where the block takes more than HANG_LIMIT_S.

    A thread of C does it, so it works while the interpreter is blocked. There is one in a process: blocks do not nest.
    """
    faulthandler.dump_traceback_later(HANG_LIMIT_S, exit=True, file=_STDERR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def die_in_time() -> None:
    """This process, a child of its own for one song, is ended by SIGALRM after HANG_LIMIT_S, whatever it does."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, HANG_LIMIT_S)
