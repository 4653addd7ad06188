"""Pace Ray Data's scheduling loop, and end a stream whose read tasks stand still.

Ray (2.60) ends a dataset in which nothing moved for half an hour. That also happens if the consumer is slow: behind a
full read-ahead a long validation, a slow model or a stopped process ends the run. So Ray's guard is switched off, and
only the time counts here in which the consumer waits and no read task delivers.
"""

from __future__ import annotations

import time
from typing import Any

LOOP_PAUSE_S = 0.01
STALLED_S = 1800.0
"""How long a consumer waits for a group before its stream ends."""
_LONGEST_STEP_S = 1.0


class StalledStreamError(RuntimeError):
    """The read tasks of a stream stand still."""


class Pacing:
    """A callback of Ray Data's executor, which calls it in every step of its scheduling loop.

    The loop runs in a thread of the training worker. Once all tasks have finished while crops remain to be consumed, it
    has nothing to wait for, spins without a pause (Ray 2.60) and takes the interpreter lock from training: steps of 125
    ms took 250.
    """

    def __init__(self) -> None:
        self._stalled_s = 0.0
        self._stepped_at = time.monotonic()
        self._seen: object = None

    def before_execution_starts(self, executor: object) -> None: ...
    def after_execution_succeeds(self, executor: object) -> None: ...
    def after_execution_fails(self, executor: object, error: Exception) -> None: ...

    def on_execution_step(self, executor: Any) -> None:
        """Pause. Raises StalledStreamError, in the loop, from where Ray Data hands it to the consumer."""
        time.sleep(LOOP_PAUSE_S)
        now = time.monotonic()
        # a process that was stopped (SIGSTOP) has not waited all that time: its tasks could not report to it
        elapsed, self._stepped_at = min(now - self._stepped_at, _LONGEST_STEP_S), now
        delivered = [operator.metrics.num_outputs_taken for operator in executor._topology]
        if delivered != self._seen or not executor._consumer_idling():
            self._seen, self._stalled_s = delivered, 0.0
            return
        self._stalled_s += elapsed
        if self._stalled_s >= STALLED_S:
            raise StalledStreamError(
                f"no read task delivered a group for {self._stalled_s:.0f} s while training waited for one: a task "
                "hangs, or the cluster has no CPU for it (site.data_cpus)"
            )
