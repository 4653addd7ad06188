"""What one trial takes of a cluster, and how many run at a time; what can never fit is refused before it waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genrescale.config import SiteConfig

DRIVER_CPUS = 0.01  # Tune refuses a trial of 0 CPUs; the driver function only waits

Node = Mapping[str, float]
"""Resources of a node by name, e.g. ``{"CPU": 16, "GPU": 4}``."""


@dataclass(frozen=True)
class Capacity:
    """CPUs and GPUs of one trial, and how many trials run at a time."""

    trial_cpus: float
    trial_gpus: int
    concurrent: int


def capacity(site: SiteConfig, nodes: Sequence[Node]) -> Capacity:
    """How many trials fit on ``nodes``. A worker is not divided between nodes; driver and data tasks run anywhere.

    Raises ValueError if not even one trial fits: started anyway, it would wait for ever without a word.
    """
    cpus = DRIVER_CPUS + site.workers * site.cpus_per_worker + site.data_cpus
    gpus = site.workers if site.use_gpu else 0
    concurrent = 0
    while _fits(site, nodes, concurrent + 1):
        concurrent += 1
    if concurrent:
        return Capacity(cpus, gpus, concurrent)
    have = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
    raise ValueError(
        f"one trial needs {cpus:g} CPUs ({site.workers} worker(s) of {site.cpus_per_worker:g}, {site.data_cpus:g} "
        f"for data, {DRIVER_CPUS:g} for its driver) and {gpus} GPU(s), each worker on one node; the nodes have: "
        f"{have}; lower site.workers, site.cpus_per_worker or site.data_cpus"
    )


def _fits(site: SiteConfig, nodes: Sequence[Node], trials: int) -> bool:
    """Whether the workers of so many trials find a node each, and the rest of the trials what they leave."""
    slots = [_worker_slots(site, node, 0.0) for node in nodes]
    # a trial's driver lands on any node, where its hundredth of a CPU may be the one that a worker lacks
    spoiled = sum(_worker_slots(site, node, DRIVER_CPUS) < full for node, full in zip(nodes, slots, strict=True))
    workers = trials * site.workers
    left = sum(node.get("CPU", 0.0) for node in nodes) - workers * site.cpus_per_worker
    room = left >= trials * (site.data_cpus + DRIVER_CPUS) - 1e-9
    return room and workers <= sum(slots) - min(spoiled, trials)


def _worker_slots(site: SiteConfig, node: Node, taken: float) -> int:
    slots = int((node.get("CPU", 0.0) - taken) / site.cpus_per_worker + 1e-9)
    return min(slots, int(node.get("GPU", 0.0))) if site.use_gpu else slots
