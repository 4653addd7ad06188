"""What a person sees of every long stage, on stderr.

On a terminal it is drawn in place, by Rich: a bar, and what else a stage shows below it. In a log it is a line: one
soon after the start, then one every half minute, less often as a job goes on for hours (``heartbeat``), and one when
something happens. Lines continue even while a single item takes long.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from types import TracebackType
from typing import TextIO, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from genrescale.telemetry.pace import Pace
from genrescale.telemetry.terminal import printable

Item = TypeVar("Item")
FIRST_S = 3.0
HEARTBEAT_S = 30.0
_MAX_HEARTBEAT_S = 60.0
_REDRAWS_PER_S = 4
_BAR_WIDTH = 24


def heartbeat(elapsed_s: float) -> float:
    """Return the seconds until the next line of a log: half a minute, in the end a minute; at first a few seconds."""
    if elapsed_s < FIRST_S:
        return min(FIRST_S, HEARTBEAT_S)
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
    """Counts finished items of a stage and shows the count, the time so far and the time left, once that can be told.

    Use as a context manager; call its methods from any thread. ``total=0`` means that the number is unknown.
    """

    def __init__(self, stage: str, total: int, unit: str, stream: TextIO | None = None) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self._stream = stream or sys.stderr
        self._done = self._partly = 0
        self._pace = Pace()
        self._note = ""
        self._below: Callable[[int], RenderableType] | None = None
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._console = Console(file=self._stream, highlight=False)
        draws = self._console.is_terminal and not self._console.is_dumb_terminal
        self._drawn = Drawn(self._console, self._picture) if draws else None
        self._finished = threading.Event()
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

    def extend(self, count: int) -> None:
        """Add items that were not known before to the total."""
        with self._lock:
            self.total += count

    def note(self, note: str) -> None:
        """Set the text that is shown at the end of the line."""
        with self._lock:
            self._note = note

    def below(self, view: Callable[[int], RenderableType]) -> None:
        """Set what a terminal, of so many columns, shows below the bar; logs have the note."""
        self._below = view

    def happened(self, text: str) -> None:
        """Tell of an event at once, in a line of its own that stays; on a terminal it appears above the bar."""
        line = printable(f"[{self.stage}] {text}")
        if self._drawn is None:
            self._write(line)
        else:
            self._console.print(Text(line), soft_wrap=True)

    def line(self) -> str:
        with self._lock:
            note = self._note
        return printable(f"[{self.stage}] " + " · ".join([*self._figures(), *([note] if note else [])]))

    def _figures(self) -> list[str]:
        """What can be told in numbers: items, time left, time so far."""
        with self._lock:
            now, done = time.monotonic(), self._done + self._partly
            left = self._pace.left_s(now, self.total)
        parts = [f"{done}/{self.total} {self.unit}" if self.total else f"{done} {self.unit}"]
        if 0 < done < self.total:
            parts.append("estimating" if left is None else f"about {format_duration(left)} left")
        return [*parts, f"{format_duration(now - self._started)} so far"]

    def _picture(self) -> RenderableType:
        """The bar of a terminal with its line, and what the stage shows below."""
        with self._lock:
            done, total = self._done + self._partly, self.total
        line = Table.grid(padding=(0, 1))
        line.add_column(no_wrap=True)
        line.add_column()
        line.add_column(no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(total or None, done, _BAR_WIDTH, pulse=not total)
        if self._below is None:
            line.add_row(Text(self.stage, "bold"), bar, Text(self.line().removeprefix(f"[{self.stage}] ")))
            return line
        line.add_row(Text(self.stage, "bold"), bar, Text(" · ".join(self._figures())))
        return Group(line, self._below(self._console.width))

    def _beat(self) -> None:
        while not self._finished.wait(heartbeat(time.monotonic() - self._started)):
            self._write(self.line())

    def _write(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def __enter__(self) -> Progress:
        if self._drawn is None:
            self._thread.start()
        else:
            self._drawn.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn is None:
            self._finished.set()
            self._thread.join()
        else:
            self._drawn.stop()
        self._end("" if kind is None else " · stopped")

    def _end(self, how: str) -> None:
        self._write(f"{self.line()}{how}")


class Drawn(Live):
    """A picture on a terminal, drawn anew a few times a second; other lines appear above it."""

    def __init__(self, console: Console, picture: Callable[[], RenderableType]) -> None:
        # what goes to a file or a pipe stays out of the terminal
        super().__init__(
            console=console,
            get_renderable=picture,
            refresh_per_second=_REDRAWS_PER_S,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )


class Waiting(Progress):
    """A stage without countable items: its lines show the time and a note; a short stage prints nothing."""

    def __init__(self, stage: str, note: str, stream: TextIO | None = None) -> None:
        super().__init__(stage, 0, "songs", stream)
        self.note(note)

    def _figures(self) -> list[str]:
        return [f"{format_duration(time.monotonic() - self._started)} so far"]

    def _end(self, how: str) -> None:
        """What a stage has to say is in its lines; how it ended, others say."""


class _Loop(Progress):
    """A stage that mostly is short, and then leaves no line."""

    def _end(self, how: str) -> None:
        if time.monotonic() - self._started > FIRST_S:
            super()._end(how)


def counted(stage: str, items: Collection[Item], unit: str) -> Iterator[Item]:
    """Yield the items with the progress of the loop that takes them."""
    with _Loop(stage, len(items), unit) as progress:
        for item in items:
            yield item
            progress.advance()
