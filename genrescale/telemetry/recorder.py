"""What one process says of itself: counters that only grow, and gauges, as reports for the job's collector.

A report holds totals since the process began and not what was added, so a report that is lost costs nothing: the next
one says it too. ``recorder()`` is the process's recorder, and says nothing to anybody unless a job serves its metrics.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from genrescale.telemetry.metric_table import METRICS

Labels = tuple[str, ...]
Key = tuple[str, Labels]
"""The name of a metric and the values of its labels, in the table's order."""


@dataclass(frozen=True)
class Report:
    """What a process said up to now. ``sequence`` counts its reports from 1; ``ended`` are trials that are over."""

    source: str
    sequence: int
    counters: Mapping[Key, float]
    gauges: Mapping[Key, float]
    ended: frozenset[str] = frozenset()


class Recorder:
    """Holds the totals and gauges of one process, whose name is ``source``: unique, also among its own restarts.

    ``labels`` are those that all its series share, such as trial and rank. Methods may be called from any thread. A
    name or a label that is not in the table is a mistake of ours: KeyError or ValueError.
    """

    def __init__(self, source: str, labels: Mapping[str, str] | None = None) -> None:
        self.source, self._labels = source, dict(labels or {})
        self._counters: dict[Key, float] = {}
        self._gauges: dict[Key, float] = {}
        self._ended: set[str] = set()
        self._sequence = 0
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return True

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Add to a counter; 0 makes it known before anything has happened."""
        key = self._key("counter", name, labels)
        with self._lock:
            self._counters[key] = self._counters.get(key, 0.0) + amount

    def total(self, name: str, value: float, **labels: str) -> None:
        """Say what a counter that is counted elsewhere has come to."""
        key = self._key("counter", name, labels)
        with self._lock:
            self._counters[key] = max(value, self._counters.get(key, 0.0))

    def set(self, name: str, value: float | None, **labels: str) -> None:
        """Set a gauge; None, or a number that is not finite, takes it away."""
        key = self._key("gauge", name, labels)
        with self._lock:
            if value is None or not math.isfinite(value):
                self._gauges.pop(key, None)
            else:
                self._gauges[key] = value

    def end(self, trial: str) -> None:
        """Say that a trial is over: its series may leave, and this process's gauges of it go at once."""
        with self._lock:
            self._ended.add(trial)
            for key in [key for key in self._gauges if trial_of(key) == trial]:
                del self._gauges[key]

    def begin(self, trial: str) -> None:
        """Say that a trial has started, maybe again after it had ended."""
        with self._lock:
            self._ended.discard(trial)

    def report(self) -> Report:
        """Everything up to now."""
        with self._lock:
            self._sequence += 1
            return Report(self.source, self._sequence, dict(self._counters), dict(self._gauges), frozenset(self._ended))

    def _key(self, kind: str, name: str, labels: Mapping[str, str]) -> Key:
        metric = METRICS[name]
        given = {label: value for label, value in self._labels.items() if label in metric.labels} | dict(labels)
        if metric.kind != kind or given.keys() != set(metric.labels):
            raise ValueError(f"{name} is a {metric.kind} with the labels {metric.labels}, not a {kind} with {labels}")
        return name, tuple(given[label] for label in metric.labels)


def trial_of(key: Key) -> str | None:
    labels = METRICS[key[0]].labels
    return key[1][labels.index("trial")] if "trial" in labels else None


class Silent(Recorder):
    """In the place of a recorder where nobody listens."""

    def __init__(self) -> None:
        super().__init__("")

    def __bool__(self) -> bool:
        return False

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None: ...
    def total(self, name: str, value: float, **labels: str) -> None: ...
    def set(self, name: str, value: float | None, **labels: str) -> None: ...
    def end(self, trial: str) -> None: ...
    def begin(self, trial: str) -> None: ...


@dataclass
class _Process:
    recorder: Recorder = field(default_factory=Silent)


_process = _Process()


def recorder() -> Recorder:
    """The recorder of this process; false where nobody listens."""
    return _process.recorder


@contextmanager
def recording(own: Recorder) -> Iterator[None]:
    """Make ``own`` the recorder of this process during the block."""
    before, _process.recorder = _process.recorder, own
    try:
        yield
    finally:
        _process.recorder = before
