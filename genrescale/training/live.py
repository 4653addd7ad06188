"""What a loop says of itself between validations, at most every few seconds and from a thread: no step waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from genrescale.results.live import LiveRun

EVERY_S = 3.0


@dataclass(frozen=True)
class Moment:
    """Where a loop stands, and the streams' statistics: of its own up to now, of others by the last validation."""

    run: LiveRun
    streams: list[dict[str, float]]


class LiveProgress:
    """Hands a moment to ``write`` now and then. What ``write`` raises is passed over: training goes on without it."""

    def __init__(self, write: Callable[[Moment], None]) -> None:
        self._write = write
        self._due_s = 0.0
        self._moment: Moment | None = None
        self._wanted, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._serve, name="live-report", daemon=True)

    def __call__(self, moment: Callable[[], Moment]) -> None:
        """Called at each step: ``moment()``, which costs a look at the device, is asked for only when it is due."""
        if (now_s := time.monotonic()) >= self._due_s:
            self._due_s = now_s + EVERY_S
            self._moment = moment()
            self._wanted.set()

    def _serve(self) -> None:
        while self._wanted.wait() and not self._ended:
            self._wanted.clear()
            if self._moment is not None:
                try:
                    self._write(self._moment)
                except Exception:  # a store that fails now is said when something is written that must be
                    continue

    def __enter__(self) -> LiveProgress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._wanted.set()
        self._thread.join()


def silent(moment: Callable[[], Moment]) -> None:
    """In the place of a LiveProgress: says nothing."""
