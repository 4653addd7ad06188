"""A job on a laptop starts a Ray of its own, whatever else runs or has died on the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import ray

from genrescale.launch.cluster import cluster_nodes

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # where `ray start` leaves its address for others to find
JOB = """
from genrescale.launch.cluster import connect
import ray
def asked_for_its_cluster():  # as Ray Train's cleaner of placement groups asks
    from ray.util.state import list_nodes
    [node] = list_nodes()
    return 7 if node.node_id == ray.get_runtime_context().get_node_id() else 0
with connect(num_cpus=3, trains=True):
    answer = ray.get(ray.remote(asked_for_its_cluster).remote())
    print(ray.cluster_resources()["CPU"], answer, ray.get_runtime_context().gcs_address)
"""


def run_job() -> tuple[str, str, str]:
    ended = subprocess.run([sys.executable, "-c", JOB], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    cpus, answer, address = ended.stdout.split()
    return cpus, answer, address


def test_neither_a_dead_clusters_address_nor_a_living_cluster_is_used(ray_cluster: None):
    CURRENT_CLUSTER.parent.mkdir(exist_ok=True)
    before = CURRENT_CLUSTER.read_bytes() if CURRENT_CLUSTER.exists() else None
    CURRENT_CLUSTER.write_text("127.0.0.1:9")
    try:
        cpus, answer, address = run_job()
        assert (cpus, answer) == ("3.0", "7")
        assert CURRENT_CLUSTER.read_text() == "127.0.0.1:9"
    finally:
        if before is None:
            CURRENT_CLUSTER.unlink()
        else:
            CURRENT_CLUSTER.write_bytes(before)
    assert address not in ("127.0.0.1:9", ray.get_runtime_context().gcs_address)
    assert [node["CPU"] for node in cluster_nodes()] == [4.0]


def test_an_address_that_nobody_answers_at_is_one_sentence():
    code = "from genrescale.launch.cluster import connect\nwith connect(): pass"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"RAY_ADDRESS": "127.0.0.1:9", "PATH": "/usr/bin:/bin", "HOME": "/tmp"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:9" in ended.stderr
