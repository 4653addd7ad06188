"""A cluster of three nodes (cluster/local.sh), jobs submitted to it, an S3 server beside it, and what may die of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers.job_runs import RunJob
from helpers.nodes import Cluster, checkpoints, cluster_of_nodes, fill_bucket, told, wait_for
from helpers.sweeps import ONE_SIZE

from genrescale.data.manifest import Manifest
from genrescale.results import ResultRow, read_curve, read_results
from genrescale.storage.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
KEYS = {"secret_key", "access_key", "token", "s3.json"}  # where the cluster itself keeps them
TWO_NODES = ["site.workers=2", "site.cpus_per_worker=1.5"]  # a node has 2 CPUs
METRICS = ("roc_auc", "pr_auc", "rmse", "val_loss")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_of_nodes(tmp_path_factory.mktemp("cluster") / "state") as cluster:
        yield cluster


@pytest.fixture
def bucket(cluster: Cluster, corpus: Manifest, monkeypatch: pytest.MonkeyPatch) -> Store:
    return fill_bucket(cluster, corpus, monkeypatch)


def metrics(row: ResultRow) -> list[float]:
    return [getattr(row, name) for name in METRICS]


@dataclass(frozen=True)
class Interrupted:
    """A sweep that was stopped after its first result and submitted again."""

    left: list[str]
    """What ran of the first job a minute after it was stopped."""
    before: dict[str, ResultRow]
    again: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def two_nodes(cluster: Cluster, corpus: Manifest) -> Interrupted:
    """Two trials, one after the other, of two workers on two nodes each, from bucket to bucket."""
    command = ["jobs/scale_sweep.py", *ONE_SIZE, *TWO_NODES, "store=s3://music", "corpus=shards", "out=two"]
    with pytest.MonkeyPatch.context() as patch:
        out = fill_bucket(cluster, corpus, patch).child("two")
        assert cluster.submit(*command, id="first", wait=False).returncode == 0
        wait_for("the first result", lambda: read_results(out))
        assert cluster.ray("job", "stop", "first").returncode == 0
        with suppress(AssertionError):
            wait_for("the job's end", lambda: not running(cluster), timeout=60)
        stopped = Interrupted(running(cluster), read_results(out), cluster.submit(*command, id="second"))
    assert stopped.again.returncode == 0, stopped.again.stdout + stopped.again.stderr
    return stopped


def running(cluster: Cluster) -> list[str]:
    """What runs of a job."""
    of_a_job = ("RayTrainWorker", "TrainController", "PlacementGroupCleaner", "ImplicitFunc", "scale_sweep.py")
    return [name for name in of_a_job if cluster.pids(name)]


def test_a_stopped_job_leaves_nothing_and_the_next_one_resumes(two_nodes: Interrupted, bucket: Store):
    assert two_nodes.left == []
    assert len(two_nodes.before) == 1
    assert "2 runs, 1 of them from before" in two_nodes.again.stdout
    after = read_results(bucket.child("two"))
    assert len(after) == 2
    assert all(after[id] == row for id, row in two_nodes.before.items())


def test_the_literal_command_trains_on_two_nodes_what_one_worker_trains(
    two_nodes: Interrupted, bucket: Store, near: Store
):
    assert "s3://music/two/report.html" in two_nodes.again.stdout
    assert "Traceback" not in two_nodes.again.stdout
    far = bucket.child("two")
    rows, near_rows = read_results(far), read_results(near)
    assert set(rows) == set(near_rows)
    assert len(rows) == 2
    for id, row in rows.items():
        assert (row.workers, row.nodes) == (2, 2)
        assert metrics(row) == pytest.approx(metrics(near_rows[id]), abs=1e-5)
        curves = [read_curve(files, id) for files in (far, near)]
        for name in ("train_loss", "val_loss"):
            losses = [np.asarray(curve[name]) for curve in curves if curve is not None]
            np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)


def test_the_keys_are_in_no_log_report_or_checkpoint(cluster: Cluster, two_nodes: Interrupted, bucket: Store):
    canaries = [cluster.client[name].encode() for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")]
    found = [path for path in cluster.state.rglob("*") if path.is_file() and path.name not in KEYS]
    logs = [path for path in found if cluster.state / "s3" not in path.parents]
    assert any("runtime_env" in path.name for path in logs)
    for path in logs:
        assert not any(canary in path.read_bytes() for canary in canaries), path
    written = bucket.list("two")
    assert any("checkpoint" in path for path in written)
    for path in written:
        assert not any(canary in bucket.read_bytes(path) for canary in canaries), path
    asked = (("job", "logs", "first"), ("job", "logs", "second"), ("job", "list"))
    for shown in (cluster.ray(*question) for question in asked):
        assert shown.returncode == 0
        assert not any(canary.decode() in shown.stdout + shown.stderr for canary in canaries)


def test_a_job_that_cannot_work_fails_with_one_sentence(cluster: Cluster, bucket: Store):
    command = ["jobs/scale_sweep.py", *ONE_SIZE, "store=s3://music", "corpus=shards", "out=never"]
    ended = cluster.submit(*command, "sizes=[999999]", id="too-large")
    assert ended.returncode != 0
    assert "999999 train songs were asked for" in ended.stdout
    assert "Traceback" not in ended.stdout
    lost = cluster.submit("jobs/scale_sweep.py", *ONE_SIZE, "corpus=s3://music/shards", id="lost-folder")
    assert lost.returncode != 0
    assert "out=scale_sweep lies in the folder of this submitted job, which Ray deletes" in lost.stdout


def test_no_job_without_the_token(cluster: Cluster, tmp_path: Path):
    (tmp_path / "token").write_text("wrong")
    ended = cluster.ray("job", "list", RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
    assert ended.returncode != 0


def test_a_killed_node_ends_in_the_run_as_if_undisturbed(
    cluster: Cluster, bucket: Store, job: RunJob, corpus: Manifest, tmp_path: Path
):
    """A worker, then a node, in one run: tests/soak/test_nodes.py."""
    longer = [*ONE_SIZE, "families=[waveform]", "optim.max_steps=120", "optim.validate_every=20"]
    longer += ["optim.patience_steps=0"]
    places = ["store=s3://music", "corpus=shards", "out=deaths"]
    assert cluster.submit("jobs/scale_sweep.py", *longer, *TWO_NODES, *places, id="deaths", wait=False).returncode == 0
    wait_for("a checkpoint", lambda: checkpoints(bucket, "deaths"))
    node = max(cluster.node_of(pid) for pid in cluster.pids("RayTrainWorker"))  # never the head
    cluster.local("kill", str(node))
    assert f"node{node}" not in cluster.local("status")
    undisturbed = job("scale_sweep", *longer, f"corpus={corpus.uri}", f"out={tmp_path / 'one'}")
    assert undisturbed.returncode == 0, undisturbed.stderr
    wait_for("the result", lambda: read_results(bucket.child("deaths")))
    wait_for("the job's end", lambda: "succeeded" in told(cluster.ray("job", "status", "deaths")))
    (far,), (whole,) = (read_results(f).values() for f in (bucket.child("deaths"), Store(str(tmp_path / "one"))))
    assert len(far.resumed_at) == 1
    assert whole.resumed_at == []
    assert (far.workers, far.nodes) == (2, 2)
    assert metrics(far) == pytest.approx(metrics(whole), abs=1e-5)
    cluster.local("start", str(node))
    wait_for("the node to join again", lambda: len(cluster.pids("raylet")) >= 3)
