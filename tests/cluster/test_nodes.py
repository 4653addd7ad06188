"""A cluster of three nodes (cluster/local.sh), jobs submitted to it, an S3 server beside it, and what may die of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import s3fs
from helpers.sweeps import ONE_SIZE

from genrescale.data.manifest import Manifest
from genrescale.results import ResultRow, read_curve, read_results
from genrescale.storage.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
KEYS = {"secret_key", "access_key", "token", "s3.json"}  # where the cluster itself keeps them
ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")
TWO_NODES = ["site.workers=2", "site.cpus_per_worker=1.5"]  # a node has 2 CPUs
METRICS = ("roc_auc", "pr_auc", "rmse", "val_loss")


class Cluster:
    """The cluster as its user sees it: a folder of state, and the settings of a client."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.settings = {
            "GENRESCALE_CLUSTER": str(state),
            "GENRESCALE_NET": f"10.77.{os.getpid() % 250}",
            "GENRESCALE_BIN": str(RAY.parent),
        }
        self.client: dict[str, str] = {}

    def local(self, *arguments: str) -> str:
        command = [str(ROOT / "cluster/local.sh"), *arguments]
        ended = subprocess.run(
            command, env={**os.environ, **self.settings}, capture_output=True, text=True, timeout=600
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def up(self) -> None:
        self.client = dict(re.findall(r"(\w+)=(\S+)", self.local("up", "3")))

    def ray(self, *arguments: str, timeout: int = 400, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(RAY), *arguments],
            cwd=ROOT,
            env={**os.environ, **self.client, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def submit(self, *entrypoint: str, id: str, wait: bool = True) -> subprocess.CompletedProcess[str]:
        options = ["--working-dir", ".", "--submission-id", id, *([] if wait else ["--no-wait"])]
        return self.ray("job", "submit", *options, "--", *entrypoint)

    def pids(self, name: str) -> list[int]:
        """Processes of the nodes whose title says that they run ``name``."""
        tops = [int(path.read_text()) for path in self.state.glob("node*.pid")]
        found = []
        for top in tops:
            if psutil.pid_exists(top):
                found += psutil.Process(top).children(recursive=True)
        return [process.pid for process in found if name in " ".join(_command_line(process))]

    def node_of(self, pid: int) -> int:
        """The number of the node that a process runs on."""
        ancestors = {parent.pid for parent in psutil.Process(pid).parents()}
        for path in self.state.glob("node*.pid"):
            if int(path.read_text()) in ancestors:
                return int(path.stem.removeprefix("node"))
        raise ValueError(f"{pid} runs on no node")


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _told(ended: subprocess.CompletedProcess[str]) -> str:
    return (ended.stdout + ended.stderr).lower()


def wait_for(what: str, found: Callable[[], object], timeout: float = 240.0) -> None:
    deadline = time.monotonic() + timeout
    while not found():
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("several nodes on one machine need root (network namespaces)")
        pytest.skip("several nodes on one machine need root (network namespaces)")
    cluster = Cluster(tmp_path_factory.mktemp("cluster") / "state")
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.local("down")


def fill_bucket(cluster: Cluster, corpus: Manifest, patch: pytest.MonkeyPatch) -> Store:
    """The bucket, with the corpus in it and its keys in the environment."""
    for name, value in cluster.client.items():
        if name.startswith("AWS_"):
            patch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()  # clients of another test's server
    bucket, files = Store("s3://music"), Store(corpus.uri)
    if not bucket.exists("shards/manifest.json"):
        for path in files.list():
            bucket.write_bytes(f"shards/{path}", files.read_bytes(path))
    return bucket


@pytest.fixture
def bucket(cluster: Cluster, corpus: Manifest, monkeypatch: pytest.MonkeyPatch) -> Store:
    return fill_bucket(cluster, corpus, monkeypatch)


def metrics(row: ResultRow) -> list[float]:
    return [getattr(row, name) for name in METRICS]


@pytest.fixture(scope="module")
def two_nodes(cluster: Cluster, corpus: Manifest) -> str:
    """What the submitter of a sweep with two workers on two nodes reads; it goes from bucket to bucket."""
    with pytest.MonkeyPatch.context() as patch:
        fill_bucket(cluster, corpus, patch)
    command = ["jobs/scale_sweep.py", *ONE_SIZE, *TWO_NODES, "store=s3://music", "corpus=shards", "out=two"]
    ended = cluster.submit(*command, id="two")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_literal_command_trains_on_two_nodes_what_one_worker_trains(two_nodes: str, bucket: Store, near: Store):
    assert "s3://music/two/report.html" in two_nodes
    assert "Traceback" not in two_nodes
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


def test_the_keys_are_in_no_log_report_or_checkpoint(cluster: Cluster, two_nodes: str, bucket: Store):
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
    for told in (cluster.ray("job", "logs", "two"), cluster.ray("job", "list")):
        assert told.returncode == 0
        assert not any(canary.decode() in told.stdout + told.stderr for canary in canaries)


def test_a_stopped_job_leaves_nothing_and_the_next_one_resumes(cluster: Cluster, bucket: Store):
    one_at_a_time = [*ONE_SIZE, *TWO_NODES, "families=[waveform]", "seeds=[1,2]"]
    command = ["python", "jobs/scale_sweep.py", *one_at_a_time, "store=s3://music", "corpus=shards", "out=stop"]
    assert cluster.submit(*command, id="first", wait=False).returncode == 0
    wait_for("the first result", lambda: read_results(bucket.child("stop")))
    assert cluster.ray("job", "stop", "first").returncode == 0
    left = ("RayTrainWorker", "TrainController", "PlacementGroupCleaner", "ImplicitFunc", "scale_sweep.py")
    wait_for("every process of the job to end", lambda: not any(cluster.pids(name) for name in left), timeout=60)
    before = read_results(bucket.child("stop"))
    assert len(before) == 1
    again = cluster.submit(*command, id="second")
    assert again.returncode == 0, again.stdout + again.stderr
    after = read_results(bucket.child("stop"))
    assert len(after) == 2
    assert "2 runs, 1 of them from before" in again.stdout
    assert all(after[id] == row for id, row in before.items())


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


def test_a_killed_worker_and_a_killed_node_end_in_the_run_as_if_undisturbed(
    cluster: Cluster, bucket: Store, corpus: Manifest, tmp_path: Path
):
    longer = [*ONE_SIZE, "families=[waveform]", "optim.max_steps=200", "optim.validate_every=20"]
    longer += ["optim.patience_steps=0"]
    one_worker = [sys.executable, "jobs/scale_sweep.py", *longer, f"corpus={corpus.uri}", f"out={tmp_path / 'one'}"]
    log = tmp_path / "log"
    undisturbed = subprocess.Popen(one_worker, cwd=ROOT, stdout=log.open("w"), stderr=subprocess.STDOUT)
    places = ["store=s3://music", "corpus=shards", "out=deaths"]
    assert cluster.submit("jobs/scale_sweep.py", *longer, *TWO_NODES, *places, id="deaths", wait=False).returncode == 0

    def registered() -> set[bytes]:
        """The checkpoints that Ray Train would resume from; one that is still being written is none of them."""
        snapshots = [path for path in bucket.list("deaths/checkpoints") if path.endswith("_snapshot.json")]
        return {name for path in snapshots for name in re.findall(rb"checkpoint_\d[\w.-]+", bucket.read_bytes(path))}

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
    wait_for("the job's end", lambda: "succeeded" in _told(cluster.ray("job", "status", "deaths")))
    assert undisturbed.wait(300) == 0, log.read_text()
    (far,), (whole,) = (read_results(f).values() for f in (bucket.child("deaths"), Store(str(tmp_path / "one"))))
    assert len(far.resumed_at) == 2
    assert whole.resumed_at == []
    assert (far.workers, far.nodes) == (2, 2)
    assert metrics(far) == pytest.approx(metrics(whole), abs=1e-5)
    cluster.local("start", str(node))
    wait_for("the node to join again", lambda: len(cluster.pids("raylet")) >= 3, timeout=60)
