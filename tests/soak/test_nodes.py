"""A cluster of three nodes on which a job is stopped, then a run's worker dies, then one of its nodes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from helpers.nodes import ROOT, Cluster, checkpoints, cluster_of_nodes, fill_bucket, told, wait_for
from helpers.sweeps import ONE_SIZE

from genrescale.data.manifest import Manifest
from genrescale.results import ResultRow, read_results
from genrescale.storage.store import Store

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]
TWO_NODES = ["site.workers=2", "site.cpus_per_worker=1.5"]  # a node has 2 CPUs
METRICS = ("roc_auc", "pr_auc", "rmse", "val_loss")


def metrics(row: ResultRow) -> list[float]:
    return [getattr(row, name) for name in METRICS]


def test_what_is_stopped_or_killed_ends_as_if_undisturbed(
    corpus: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with cluster_of_nodes(tmp_path / "state", nodes=3) as cluster:
        bucket = fill_bucket(cluster, corpus, monkeypatch)
        check_a_stopped_job(cluster, bucket)
        check_deaths(cluster, bucket, corpus, tmp_path)


def running(cluster: Cluster) -> list[str]:
    """What runs of a job."""
    of_a_job = ("RayTrainWorker", "TrainController", "PlacementGroupCleaner", "ImplicitFunc", "scale_sweep.py")
    return [name for name in of_a_job if cluster.pids(name)]


def check_a_stopped_job(cluster: Cluster, bucket: Store) -> None:
    """A job that is stopped after its first result leaves nothing that runs, and the next one continues."""
    command = ["jobs/scale_sweep.py", *ONE_SIZE, *TWO_NODES, "store=s3://music", "corpus=shards", "out=two"]
    assert cluster.submit(*command, id="first", wait=False).returncode == 0
    wait_for("the first result", lambda: read_results(bucket.child("two")))
    assert cluster.ray("job", "stop", "first").returncode == 0
    wait_for("the job's end", lambda: not running(cluster), timeout=60)
    before = read_results(bucket.child("two"))
    assert len(before) == 1
    again = cluster.submit(*command, id="second")
    assert "2 runs, 1 of them from before" in again.stdout
    after = read_results(bucket.child("two"))
    assert len(after) == 2
    assert all(after[id] == row for id, row in before.items())


def check_deaths(cluster: Cluster, bucket: Store, corpus: Manifest, tmp_path: Path) -> None:
    longer = [*ONE_SIZE, "families=[waveform]", "optim.max_steps=200", "optim.validate_every=20"]
    longer += ["optim.patience_steps=0"]
    one_worker = [sys.executable, "jobs/scale_sweep.py", *longer, f"corpus={corpus.uri}", f"out={tmp_path / 'one'}"]
    log = tmp_path / "log"
    undisturbed = subprocess.Popen(one_worker, cwd=ROOT, stdout=log.open("w"), stderr=subprocess.STDOUT)
    places = ["store=s3://music", "corpus=shards", "out=deaths"]
    assert cluster.submit("jobs/scale_sweep.py", *longer, *TWO_NODES, *places, id="deaths", wait=False).returncode == 0

    def registered() -> set[bytes]:
        return checkpoints(bucket, "deaths")

    wait_for("a checkpoint", registered)
    workers, before = cluster.pids("RayTrainWorker"), registered()
    psutil.Process(workers[0]).kill()
    wait_for("new workers", lambda: len(set(cluster.pids("RayTrainWorker")) - set(workers)) == 2)
    again = set(cluster.pids("RayTrainWorker")) - set(workers)
    wait_for("a checkpoint of the new workers", lambda: registered() - before)
    node = max(cluster.node_of(pid) for pid in again)  # never the head, whose end is the cluster's
    cluster.local("kill", str(node))
    assert f"node{node}" not in cluster.local("status")
    wait_for("the result", lambda: read_results(bucket.child("deaths")))
    wait_for("the job's end", lambda: "succeeded" in told(cluster.ray("job", "status", "deaths")))
    assert undisturbed.wait(300) == 0, log.read_text()
    (far,), (whole,) = (read_results(f).values() for f in (bucket.child("deaths"), Store(str(tmp_path / "one"))))
    assert len(far.resumed_at) == 2
    assert whole.resumed_at == []
    assert (far.workers, far.nodes) == (2, 2)
    assert metrics(far) == pytest.approx(metrics(whole), abs=1e-5)
    cluster.local("start", str(node))
    wait_for("the node to join again", lambda: len(cluster.pids("raylet")) >= 3, timeout=60)
    cluster.local("start", str(node))
    wait_for("the node to join again", lambda: len(cluster.pids("raylet")) >= 3)
