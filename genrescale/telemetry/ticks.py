"""What a long task finished so far, for whoever runs it: the task calls ``tick``, and need not know who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[], None] | None] = ContextVar("listener", default=None)


def tick() -> None:
    """Say that one more item of the task that runs in this thread is finished."""
    if (listener := _listener.get()) is not None:
        listener()


@contextmanager
def listening(listener: Callable[[], None]) -> Iterator[None]:
    """Call ``listener`` at each tick of the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
