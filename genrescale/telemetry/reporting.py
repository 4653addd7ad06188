"""Sends a recorder's reports now and then, from a thread: nothing that is measured waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from genrescale.telemetry.recorder import Recorder, Report

EVERY_S = 3.0


class Reporting:
    """Hands ``recorder``'s reports to ``send`` every few seconds, and a last one at the end of the block.

    ``send(report, last)`` must not block but for the last report, and may leave a report out: the next one holds all
    that it held, so no more than one is ever kept. ``look`` is called before each, to read what is not told. What
    either raises is passed over: the work goes on without its metrics.
    """

    def __init__(
        self,
        recorder: Recorder,
        send: Callable[[Report, bool], None],
        look: Callable[[], None] | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        self._recorder, self._send, self._look, self._every_s = recorder, send, look, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="telemetry", daemon=True)

    def _serve(self) -> None:
        while not self._ended.wait(self._every_s):
            self._report(last=False)

    def _report(self, last: bool) -> None:
        for act in (self._look, lambda: self._send(self._recorder.report(), last)):
            try:
                if act is not None:
                    act()
            except Exception:  # a collector that does not answer, or is no more, ends no job
                continue

    def __enter__(self) -> Reporting:
        self._report(last=False)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._report(last=True)
