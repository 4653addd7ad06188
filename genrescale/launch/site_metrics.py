"""What a job's driver tells of its cluster, its disk and its money."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

from genrescale.config.telemetry import TelemetryConfig
from genrescale.storage.store import Store
from genrescale.telemetry.recorder import Recorder

_EVERY_S = 10.0  # each look asks Ray's head


class SiteMetrics:
    """Called before each report, it looks at the cluster and the disk every few seconds.

    ``announce`` is handed the addresses of Ray's own metrics, one of each node.
    """

    def __init__(
        self, said: Recorder, settings: TelemetryConfig, files: Store, announce: Callable[[list[str]], object]
    ) -> None:
        self._said, self._files, self._nodes, self._announce = said, files, settings.nodes, announce
        self._due_s = float("-inf")
        said.set("genrescale_study_started_timestamp_seconds", time.time())
        said.set("genrescale_price_per_device_hour", settings.price_per_hour)
        said.set("genrescale_study_budget", settings.budget)

    def __call__(self) -> None:
        if (now_s := time.monotonic()) >= self._due_s:
            self._due_s = now_s + _EVERY_S
            self._look_at_disk()
            self._look_at_cluster()

    def _look_at_cluster(self) -> None:
        import ray

        nodes = [node for node in ray.nodes() if node["Alive"]]
        alive = len(nodes)
        of_ray = sorted(f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in nodes)
        self._announce(of_ray)  # each time: the actor may have been restarted
        self._nodes = self._nodes or alive  # unless the setting says it: as many as at the start
        self._said.set("genrescale_cluster_nodes", alive)
        self._said.set("genrescale_cluster_expected_nodes", self._nodes)
        there, free = ray.cluster_resources(), ray.available_resources()
        cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
        self._said.set("genrescale_cluster_cpus", cpus, state="all")
        self._said.set("genrescale_cluster_cpus", cpus - free.get("CPU", 0.0), state="taken")
        self._said.set("genrescale_cluster_gpus", gpus, state="all")
        self._said.set("genrescale_cluster_gpus", gpus - free.get("GPU", 0.0), state="taken")

    def _look_at_disk(self) -> None:
        folder = self._files.local_path()
        while folder is not None and not folder.exists():  # the job makes it later
            folder = folder.parent
        disk = None if folder is None else shutil.disk_usage(folder)
        self._said.set("genrescale_disk_free_bytes", disk.free if disk else 0)
        self._said.set("genrescale_disk_size_bytes", disk.total if disk else 0)
