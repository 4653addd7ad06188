"""What jobs that work on Ray have in common: three settings, and the cluster and the metrics that these ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from genrescale.config.telemetry import TelemetryConfig
from genrescale.launch import cluster

if TYPE_CHECKING:
    from genrescale.storage.store import Store


@dataclass
class OnRay:
    """``cpus`` of a private cluster (0: as this machine suggests); ``verbose``: what Ray and DeepSpeed say is shown."""

    cpus: int = 0
    verbose: bool = False
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)

    @contextmanager
    def connected(self, files: Store, trains: bool = False) -> Iterator[None]:
        """Connect to Ray and serve metrics during the block; ``files`` is the job's folder."""
        from genrescale.launch.telemetry import serving

        with cluster.connect(self.cpus, trains, self.verbose), serving(self.telemetry, files):
            yield
