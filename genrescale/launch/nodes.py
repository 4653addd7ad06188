"""The doctor's checks on Ray: a private one that starts, or every node of the cluster that a job was submitted to."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from genrescale.doctor.all_checks import machine_findings
from genrescale.doctor.finding import Finding, examined, fault, ok
from genrescale.doctor.stores import clock_finding
from genrescale.launch.cluster import connect

_ROUND_TRIPS = 5
_TIMEOUT_S, _CLOCK_S = 60, 10


def ray_findings(use_gpu: bool) -> Iterator[Finding]:
    """Start a private Ray and run a task on it; where ``RAY_ADDRESS`` names a cluster, examine each of its nodes.

    A node's findings have its address in front. ``use_gpu``: a node without a GPU is a fault.
    """
    yield from examined("ray", lambda: _on_nodes(use_gpu) if "RAY_ADDRESS" in os.environ else _alone())


def _alone() -> Iterable[Finding]:
    import ray

    began = time.monotonic()
    with connect():
        answer = ray.get(ray.remote(num_cpus=0)(lambda: 6 * 7).remote(), timeout=_TIMEOUT_S)
    seconds = time.monotonic() - began
    if answer != 42:
        yield fault("ray task", f"its answer is {answer!r}", "make the environment again: make env")
    else:
        yield ok("ray task", f"a private Ray started, ran a task and ended in {seconds:.0f} s")


def _on_nodes(use_gpu: bool) -> Iterable[Finding]:
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    with connect():
        nodes = ray.nodes()
        living = [node for node in nodes if node["Alive"]]
        yield ok("ray nodes", f"{len(living)} alive")
        asked = []
        for node in living:  # all at once, so that many nodes take no longer than one
            on_node = {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)}
            asked.append((ray.remote(**on_node)(_examine).remote(use_gpu), ray.remote(**on_node)(_now)))
        until_s = time.monotonic() + _TIMEOUT_S
        for node, (examined_there, now) in zip(living, asked, strict=True):
            where = node["NodeManagerAddress"]
            try:
                findings = ray.get(examined_there, timeout=max(1.0, until_s - time.monotonic()))
                ahead_s = _ahead_s(lambda now=now: ray.get(now.remote(), timeout=_CLOCK_S))
                findings.append(clock_finding("clock", ahead_s, "this machine"))
            except RayError as error:
                reason = str(error).strip().splitlines()[-1]
                mend = "see ray status and the node's logs; each node needs the same environment"
                findings = [fault("node", f"runs no task ({reason})", mend)]
            yield from (replace(finding, check=f"{where} {finding.check}") for finding in findings)


def _examine(use_gpu: bool) -> list[Finding]:
    """On a node: its own checks. Ray's ports are taken where Ray runs."""
    return [finding for finding in machine_findings(use_gpu) if finding.check != "ray's ports"]


def _now() -> float:
    return time.time()


def _ahead_s(read_clock: Callable[[], float]) -> float:
    """How far a clock is ahead of this machine's, by the quickest of some round trips."""
    trips = []
    for _ in range(_ROUND_TRIPS):
        began, there, ended = time.time(), read_clock(), time.time()
        trips.append((ended - began, there - (began + ended) / 2))
    return min(trips)[1]
