"""A report that is there while runs train: written at their first validation, and again as they go on."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType

from genrescale.storage.store import Store
from genrescale.telemetry.terminal import say

LOOK_S = 10.0
REST = 20  # the report is left alone for so many times what writing it took: at most a twentieth of the time goes to it
_TOLD = ("curve.parquet", "result.json")


class LiveReport:
    """Writes a report in the background, whenever a run has validated or finished. Use as a context manager.

    ``write`` writes it once. What goes wrong in between is passed over, because the report at the end tells it.
    """

    def __init__(self, files: Store, page: str, write: Callable[[], object], look_s: float = LOOK_S) -> None:
        self._files, self._page, self._write, self._look_s = files, page, write, look_s
        self._seen: dict[str, int] = {}
        self._rest_until = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def look(self) -> bool:
        """Write the report if there is something new; returns whether it did."""
        found = {path: size for path, size in self._files.sizes("runs").items() if path.endswith(_TOLD)}
        if found == self._seen:
            return False
        began = time.monotonic()
        self._write()
        self._seen, self._rest_until = found, time.monotonic() + REST * (time.monotonic() - began)
        return True

    def __enter__(self) -> LiveReport:
        say(f"[report] from the first validation on: {self._page}", sys.stderr)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if kind is None:  # who interrupts a job does not wait for a page
            self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._look_s):
            if time.monotonic() < self._rest_until:
                continue
            try:
                self.look()
            except Exception:  # a store that does not answer, a file that is half written: tried again
                self._rest_until = time.monotonic() + self._look_s
