"""Where a job serves its metrics, and what is known of its cluster and its money."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, fields

from genrescale.config.checks import not_negative, require

MAX_PORT = 65_535


@dataclass
class TelemetryConfig:
    """Metrics for Prometheus, served by one actor on the head node while the job runs; without ``port``, none.

    ``port`` 0 means any free one. ``host`` is the address that the server listens on: loopback unless another is given.
    ``targets`` is a folder on the head node for Prometheus' file discovery (``file_sd``). ``price_per_hour`` is what a
    GPU costs, without GPUs a worker, in any currency; ``budget`` what the job may cost in all. ``nodes`` is how many
    nodes the cluster should have; 0 means as many as at the start.
    """

    port: int | None = None
    host: str = "127.0.0.1"
    targets: str = ""
    price_per_hour: float = 0.0
    budget: float = 0.0
    nodes: int = 0

    def __post_init__(self) -> None:
        if self.port is None:
            idle = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
            require(not idle, f"telemetry.{', telemetry.'.join(idle)} has no effect without telemetry.port")
            return
        require(0 <= self.port <= MAX_PORT, f"telemetry.port={self.port} must be from 0 to {MAX_PORT}; 0: any free one")
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            raise ValueError(
                f"telemetry.host={self.host!r} must be an IP address of the head node: 127.0.0.1 for this machine "
                "only, 0.0.0.0 for whoever reaches it"
            ) from None
        require(
            not self.targets or os.path.isabs(self.targets),
            f"telemetry.targets={self.targets!r} must be an absolute path of a folder on the head node",
        )
        not_negative(price_per_hour=self.price_per_hour, budget=self.budget, nodes=self.nodes)
        require(
            not self.budget or self.price_per_hour > 0,
            "telemetry.budget needs telemetry.price_per_hour, or nothing is spent",
        )
