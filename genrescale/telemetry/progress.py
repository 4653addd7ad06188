"""Progress lines on stderr for every long stage.

On a terminal the line is redrawn in place. In a log, a line is written every few seconds, less often as a job goes on
for hours (``heartbeat``). Lines continue even while a single item takes long.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from types import TracebackType
from typing import TextIO

from genrescale.telemetry.pace import Pace
from genrescale.telemetry.terminal import printable

HEARTBEAT_S = 3.0
_MAX_HEARTBEAT_S = 60.0
_REDRAW_S = 0.2


def heartbeat(elapsed_s: float) -> float:
    """Return the seconds between two lines of a log: 3 in the first ten minutes, a minute after some hours."""
    return min(_MAX_HEARTBEAT_S, max(HEARTBEAT_S, elapsed_s / 200))


def format_duration(seconds: float) -> str:
    """Format seconds: ``75.2`` -> ``1m15s``; ``8.25`` -> ``8s``."""
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    return f"{minutes // 60}h{minutes % 60:02d}m"


class Progress:
    """Counts finished items of a stage and prints the count, the time so far and the time left, once that can be told.

    Use as a context manager; call ``advance`` from any thread. ``total=0`` means that the number is unknown.
    """

    def __init__(self, stage: str, total: int, unit: str, stream: TextIO | None = None) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self._stream = stream or sys.stderr
        self._done = self._partly = 0
        self._pace = Pace()
        self._note = ""
        self._lock = threading.Lock()
        self._finished = threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name=f"progress-{stage}", daemon=True)

    def advance(self, count: int = 1, note: str = "") -> None:
        with self._lock:
            self._done += count
            self._note = note or self._note
            self._pace.moved(time.monotonic(), self._done + self._partly)

    def partly(self, count: int) -> None:
        """Set how many items are finished in tasks that are not, beside those that ``advance`` counted."""
        with self._lock:
            self._partly = count
            self._pace.moved(time.monotonic(), self._done + count)

    def drop(self, count: int) -> None:
        """Take items that are not needed out of the total."""
        with self._lock:
            self.total = max(self._done, self.total - count)

    def note(self, note: str) -> None:
        """Set the text that is shown at the end of the line."""
        with self._lock:
            self._note = note

    def line(self) -> str:
        with self._lock:
            now, done, note = time.monotonic(), self._done + self._partly, self._note
            left = self._pace.left_s(now, self.total)
        elapsed = now - self._started
        parts = [f"{done}/{self.total} {self.unit}" if self.total else f"{done} {self.unit}"]
        if 0 < done < self.total:
            parts.append("estimating" if left is None else f"about {format_duration(left)} left")
        parts.append(f"{format_duration(elapsed)} so far")
        if note:
            parts.append(note)
        return printable(f"[{self.stage}] " + " · ".join(parts))

    def _beat(self) -> None:
        tty = self._stream.isatty()
        while not self._finished.wait(_REDRAW_S if tty else heartbeat(time.monotonic() - self._started)):
            line = self.line()
            self._stream.write(f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}" if tty else f"{line}\n")
            self._stream.flush()

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.set()
        self._thread.join()
        end = "" if kind is None else " · stopped"
        self._stream.write(("\r\033[K" if self._stream.isatty() else "") + f"{self.line()}{end}\n")
        self._stream.flush()


class Waiting(Progress):
    """A stage without countable items: its lines show the time and a note; a short stage prints nothing."""

    def __init__(self, stage: str, note: str, stream: TextIO | None = None) -> None:
        super().__init__(stage, 0, "songs", stream)
        self.note(note)

    def line(self) -> str:
        with self._lock:
            note = self._note
        return f"[{self.stage}] {format_duration(time.monotonic() - self._started)} so far · {note}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finished.set()
        self._thread.join()
        if self._stream.isatty():
            self._stream.write("\r\033[K")
            self._stream.flush()
