"""The page that Prometheus reads, by ``prometheus-client``: the job's collector and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector as PrometheusCollector

from genrescale.telemetry.collector import Collector


class Exposition(PrometheusCollector):
    """Serves a collector at ``host`` and ``port`` (0: any free one) from threads. OSError where that is not possible.

    ``scraped_at`` is when somebody last asked, a time.monotonic().
    """

    def __init__(self, collector: Collector, host: str, port: int) -> None:
        self._collector = collector
        self.scraped_at = float("-inf")
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        server, self._thread = start_http_server(port, addr=host, registry=registry)
        self._server: Any = server  # a server of threads, which its type does not say
        self._server.daemon_threads = False  # so that close() lets an answer that is under way arrive
        self.port: int = self._server.server_port

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._collector.collect()
        self.scraped_at = time.monotonic()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
