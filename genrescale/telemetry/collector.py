"""The collector of a job: merges the reports of its processes, and shows what came of them to Prometheus. No Ray.

Reports hold totals of one source, which is one attempt of one process. The collector adds what a source has grown by
since its last report. So nothing is lost when a process dies between two scrapes, and nothing counts twice: a report
that comes again or late adds nothing, and a restarted process is another source that starts at 0.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector as PrometheusCollector

from genrescale.telemetry.metric_table import METRICS, OF_STUDY, STUDY
from genrescale.telemetry.recorder import Key, Labels, Report, trial_of

MAX_SERIES = 50_000
_RESERVED = 1_000  # of them for series that are of no single run
LINGER_S = 60.0
"""How long the series of a trial that has ended stay: four scrapes of 15 s."""
_REMEMBERED = 10_000  # sources that are gone, whose late reports count nothing


@dataclass
class _Source:
    sequence: int
    counters: dict[Key, float] = field(default_factory=dict)
    gauges: set[Key] = field(default_factory=set)
    ended: frozenset[str] = frozenset()

    def trials(self) -> set[str]:
        return {trial for key in (*self.counters, *self.gauges) if (trial := trial_of(key)) is not None}


class Collector(PrometheusCollector):
    """The series of one job, whose ``study`` is a label of all of them.

    At most ``max_series`` are held; what is above is counted and not shown. ``began_anew`` says that an earlier
    collector of the job has died: totals of sources that it knew are then a starting point and not added. Methods may
    be called from any thread.
    """

    def __init__(
        self,
        study: str,
        max_series: int = MAX_SERIES,
        linger_s: float = LINGER_S,
        began_anew: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._study, self._max_series, self._linger_s = study, max_series, linger_s
        self._began_anew, self._clock = began_anew, clock
        self._counters: dict[Key, float] = {}
        self._gauges: dict[Key, float] = {}
        self._sources: dict[str, _Source] = {}
        self._left: deque[str] = deque(maxlen=_REMEMBERED)
        self._leaving: dict[str, float] = {}  # when the trials that are over leave
        self._refused: set[Key] = set()
        self._reports = 0
        self._lock = threading.Lock()

    def merge(self, report: Report) -> None:
        """Take over what a source has grown by, and its gauges."""
        with self._lock:
            self._reports += 1
            self._merge(report)

    def _merge(self, report: Report) -> None:
        source = self._sources.get(report.source)
        if report.source in self._left or (source is not None and report.sequence <= source.sequence):
            return
        if source is None:
            source = self._sources[report.source] = _Source(report.sequence)
            if self._began_anew and report.sequence > 1:
                source.counters = dict(report.counters)
        for key, value in report.counters.items():
            self._grow(key, value - source.counters.get(key, 0.0))
            source.counters[key] = value
        for key in source.gauges - report.gauges.keys():
            self._gauges.pop(key, None)
        for key, value in report.gauges.items():
            if key in self._gauges or self._has_room(key):
                self._gauges[key] = value
        for trial in report.ended - source.ended:
            self._leaving[trial] = self._clock() + self._linger_s
        for trial in source.ended - report.ended:  # it was started again
            self._leaving.pop(trial, None)
        source.sequence, source.gauges, source.ended = report.sequence, set(report.gauges), report.ended

    def _grow(self, key: Key, amount: float) -> None:
        if key in self._counters or self._has_room(key):
            self._counters[key] = self._counters.get(key, 0.0) + max(0.0, amount)
        metric = METRICS[key[0]]
        if metric.kept:
            values = dict(zip(metric.labels, key[1], strict=True))
            of_study = tuple(values[label] for label in (*OF_STUDY, *metric.own_labels))
            self._grow((metric.study_name, of_study), amount)

    def _has_room(self, key: Key) -> bool:
        limit = self._max_series if trial_of(key) is None else self._max_series - _RESERVED
        if self._num_series() < limit:
            return True
        if len(self._refused) < self._max_series:
            self._refused.add(key)
        return False

    def _leave(self) -> None:
        """Let the trials go that are over for long enough."""
        gone = {trial for trial, when in self._leaving.items() if when <= self._clock()}
        if not gone:
            return
        for series in (self._counters, self._gauges):
            for key in [key for key in series if trial_of(key) in gone]:
                del series[key]
        for name in [name for name, source in self._sources.items() if (of := source.trials()) and of <= gone]:
            del self._sources[name]
            self._left.append(name)

    def _num_series(self) -> int:
        return len(self._counters) + len(self._gauges)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield all series, each metric of the table once."""
        with self._lock:
            self._leave()
            samples = [*self._counters.items(), *self._gauges.items()]
            own = {
                "genrescale_telemetry_series": self._num_series(),
                "genrescale_telemetry_sources": len(self._sources),
                "genrescale_telemetry_reports_total": self._reports,
                "genrescale_telemetry_refused_series_total": len(self._refused),
            }
        series: dict[str, list[tuple[Labels, float]]] = {name: [((), float(value))] for name, value in own.items()}
        for (name, labels), value in samples:
            series.setdefault(name, []).append((labels, value))
        for name, metric in METRICS.items():
            if name in series:
                family_of = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                family = family_of(name, metric.help, labels=[STUDY, *metric.labels])
                for labels, value in series[name]:
                    family.add_metric([self._study, *labels], value)
                yield family
