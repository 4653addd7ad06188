"""A report that is there while runs train: written at their first validation, and again as they go on."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from genrescale.results.search import SEARCH_PATH
from genrescale.storage.store import Store
from genrescale.telemetry.terminal import say

LOOK_S = 10.0
REST = 20  # times what it took, waiting for a bucket included, before it is written again: at most a twentieth of all
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
        if (found := self._found()) == self._seen:
            return False
        began = time.monotonic()
        try:
            self._write()
        finally:
            ended = time.monotonic()
            self._rest_until = ended + REST * (ended - began)
        self._seen = found
        return True

    def _found(self) -> dict[str, int]:
        runs = {path: size for path, size in self._files.sizes("runs").items() if path.endswith(_TOLD)}
        return runs | self._files.sizes(SEARCH_PATH)

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
        with suppress(Exception):
            self._seen = self._found()  # what lay there before the job is no news
        while not self._ended.wait(self._look_s):
            if time.monotonic() >= self._rest_until:
                with suppress(Exception):  # a store that does not answer, a file that is half written: tried again
                    self.look()
