"""The metrics of a job, served to Prometheus by one small actor on the head node.

The actor belongs to the job's driver and ends with it, however the driver ends. It outlives every worker. Processes of
the job find it by its name in the job's own namespace, so nothing has to be handed to them, and without one they say
nothing. Nobody waits for it: a report goes out only when the one before has arrived.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from genrescale.config.telemetry import TelemetryConfig
from genrescale.launch.site_metrics import SiteMetrics
from genrescale.storage.store import Store
from genrescale.telemetry.recorder import Recorder, Report, Silent, recording
from genrescale.telemetry.reporting import Reporting
from genrescale.telemetry.targets import remove_target, write_target
from genrescale.telemetry.terminal import say

NAME = "genrescale-telemetry"
HEAD = "node:__internal_head__"  # a resource of the head node
_ANSWER_S = 10.0  # how long a last report may take
_SCRAPED_WITHIN_S = 65.0  # somebody who asked so lately will ask again
_LAST_SCRAPE_S = 20.0  # how long the end of a job waits for that


class CollectorActor:
    """Holds the collector and serves it."""

    def __init__(self, study: str, host: str, port: int, targets: str) -> None:
        import ray

        from genrescale.telemetry.collector import Collector
        from genrescale.telemetry.exposition import Exposition

        again = bool(ray.get_runtime_context().was_current_actor_reconstructed)
        self._collector = Collector(study, began_anew=again)
        self._exposition: Exposition | None = None
        self._error = ""
        self._host, self._targets = host, targets
        self._announced: tuple[str, ...] | None = None  # of Ray, by this actor
        try:
            self._exposition = Exposition(self._collector, host, port)
        except OSError as error:
            self._error = f"telemetry.port={port} of {host} cannot be listened on ({error.strerror}): take another port"
            return
        self.announce(())

    def address(self) -> tuple[str, str]:
        """Where the metrics are, and what is wrong."""
        return (f"{self._host}:{self._exposition.port}", "") if self._exposition else ("", self._error)

    def announce(self, of_ray: Sequence[str]) -> None:
        """Write down where Prometheus finds the job, and Ray's metrics of each node, if that is news."""
        if self._exposition is not None and self._targets and self._announced != tuple(of_ray):
            self._announced = tuple(of_ray)
            write_target(self._targets, self._host, self._exposition.port, of_ray)

    def merge(self, report: Report) -> None:
        self._collector.merge(report)

    def pid(self) -> int:
        return os.getpid()

    def last_scrape(self) -> float:
        """The seconds since somebody last asked."""
        return time.monotonic() - self._exposition.scraped_at if self._exposition else float("inf")

    def close(self) -> None:
        if self._exposition is not None:
            if self._targets:
                remove_target(self._targets, self._host, self._exposition.port)
            self._exposition.close()


@contextmanager
def serving(settings: TelemetryConfig, files: Store) -> Iterator[None]:
    """Serve the metrics of the connected job during the block, and record those of this process; off by default.

    ``files`` is the job's folder: its name is the study. Raises ValueError for a port that cannot be had.
    """
    if settings.port is None:
        yield
        return
    import ray

    study = os.path.basename(files.uri.rstrip("/"))
    options = {"name": NAME, "num_cpus": 0, "resources": {HEAD: 0.001}, "max_restarts": -1, "max_concurrency": 2}
    actor: Any = (
        ray.remote(CollectorActor).options(**options).remote(study, settings.host, settings.port, settings.targets)
    )
    try:
        address, wrong = ray.get(actor.address.remote())
        if wrong:
            raise ValueError(wrong)
        say(f"[telemetry] metrics of {study} at http://{address}/metrics", sys.stderr)
        own = Recorder("driver")
        look = SiteMetrics(own, settings, files, actor.announce.remote)
        with _scraped_to_the_end(actor, bool(settings.targets)), recording(own), Reporting(own, _Sender(actor), look):
            yield
    finally:
        with suppress(Exception):
            ray.get(actor.close.remote(), timeout=_ANSWER_S)
        ray.kill(actor)


@contextmanager
def _scraped_to_the_end(actor: Any, announced: bool) -> Iterator[None]:
    """Wait after the block until its last values are seen, also if it failed, but not if somebody stopped it."""
    began_s = time.monotonic()
    try:
        yield
    except Exception:
        _wait_for_scrape(actor, announced and time.monotonic() - began_s < _SCRAPED_WITHIN_S)
        raise
    _wait_for_scrape(actor, announced and time.monotonic() - began_s < _SCRAPED_WITHIN_S)


def _wait_for_scrape(actor: Any, expected: bool) -> None:
    """Let a Prometheus see the last values of this job, for some seconds at most.

    That is one that scrapes it, or, for a job that was announced a short while ago, may be about to (``expected``).
    """
    import ray

    with suppress(Exception):
        end = time.monotonic() + _LAST_SCRAPE_S
        first: float = ray.get(actor.last_scrape.remote(), timeout=_ANSWER_S)
        waits = first < _SCRAPED_WITHIN_S or (expected and first == float("inf"))
        since_s = time.monotonic()
        while waits and time.monotonic() < end:
            time.sleep(0.25)
            ago_s: float = ray.get(actor.last_scrape.remote(), timeout=_ANSWER_S)
            waits = ago_s > time.monotonic() - since_s


class _Sender:
    """Sends reports to the actor. One is under way at most; the last one is waited for, some seconds."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self._under_way: Any = None

    def __call__(self, report: Report, last: bool) -> None:
        import ray

        if self._under_way is not None and not last and not ray.wait([self._under_way], timeout=0)[0]:
            return
        self._under_way = self._actor.merge.remote(report)
        if last:
            ray.get(self._under_way, timeout=_ANSWER_S)


@contextmanager
def recording_here(labels: Mapping[str, str]) -> Iterator[Recorder]:
    """Record what a worker of the job says, under ``labels``, and report it; silent where the job serves no metrics."""
    import ray

    try:
        actor = ray.get_actor(NAME)
    except ValueError:
        yield Silent()
        return
    own = Recorder(uuid.uuid4().hex, labels)
    with recording(own), Reporting(own, _Sender(actor)):
        yield own
