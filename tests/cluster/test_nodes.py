"""A cluster of two nodes (cluster/local.sh), jobs submitted to it, and an S3 server beside it.

What may die of it: tests/soak/test_nodes.py.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from helpers.chromium import chromium
from helpers.dashboards import ACTORS, JOB_LISTS, dashboard_answers
from helpers.nodes import ROOT, Cluster, cluster_of_nodes, fill_bucket, outside
from helpers.pages import opened, screenshot
from helpers.pages import outside as asked_elsewhere
from helpers.sweeps import ONE_SIZE
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from genrescale.data.manifest import Manifest
from genrescale.results import ResultRow, read_curve, read_results
from genrescale.storage.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]
KEYS = {"secret_key", "access_key", "token", "s3.json"}  # where the cluster itself keeps them
WAVEFORM = ["jobs/scale_sweep.py", *ONE_SIZE, "families=[waveform]"]
PLACES = ["store=s3://music", "corpus=shards"]
TWO_NODES = ["site.workers=2", "site.cpus_per_worker=1.5"]  # a node has 2 CPUs
METRICS = ("roc_auc", "pr_auc", "rmse", "val_loss")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster_of_nodes(tmp_path_factory.mktemp("cluster") / "state", nodes=2) as cluster:
        yield cluster


@pytest.fixture
def bucket(cluster: Cluster, corpus: Manifest, monkeypatch: pytest.MonkeyPatch) -> Store:
    return fill_bucket(cluster, corpus, monkeypatch)


def metrics(row: ResultRow) -> list[float]:
    return [getattr(row, name) for name in METRICS]


@pytest.fixture(scope="module")
def submitted(cluster: Cluster, corpus: Manifest) -> subprocess.CompletedProcess[str]:
    """A trial of two workers on two nodes, from bucket to bucket."""
    with pytest.MonkeyPatch.context() as patch:
        fill_bucket(cluster, corpus, patch)
        ended = cluster.submit(*WAVEFORM, *TWO_NODES, *PLACES, "out=two", id="two")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended


def test_the_literal_command_trains_on_two_nodes_what_one_worker_trains(
    submitted: subprocess.CompletedProcess[str], bucket: Store, near: Store
):
    assert "s3://music/two/report.html" in submitted.stdout
    assert "Traceback" not in submitted.stdout
    far = bucket.child("two")
    [(id, row)] = read_results(far).items()
    assert (row.workers, row.nodes, row.resumed_at) == (2, 2, [])
    assert metrics(row) == pytest.approx(metrics(read_results(near)[id]), abs=1e-5)
    curves = [read_curve(files, id) for files in (far, near)]
    for name in ("train_loss", "val_loss"):
        losses = [np.asarray(curve[name]) for curve in curves if curve is not None]
        np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)


def test_the_keys_are_in_no_log_report_checkpoint_or_answer_of_the_dashboard(
    cluster: Cluster, submitted: subprocess.CompletedProcess[str], bucket: Store
):
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
    for shown in (cluster.ray(*question) for question in (("job", "logs", "two"), ("job", "list"))):
        assert shown.returncode == 0
        assert not any(canary.decode() in shown.stdout + shown.stderr for canary in canaries)
    token = (cluster.state / "token").read_text().strip()
    for path, answer in dashboard_answers(cluster.client["RAY_API_SERVER_ADDRESS"], token).items():
        assert "two" in answer or path not in JOB_LISTS, path  # it tells of the job, so it could tell its keys
        assert not any(canary.decode() in answer for canary in canaries), path
        assert token not in answer, path


def test_rays_dashboard_lists_the_job_and_names_its_run(
    cluster: Cluster, submitted: subprocess.CompletedProcess[str], bucket: Store
):
    address, token = cluster.client["RAY_API_SERVER_ADDRESS"], (cluster.state / "token").read_text().strip()
    [id] = read_results(bucket.child("two"))
    assert f"waveform-40-lr0.01-seed0-{id[:8]}" in dashboard_answers(address, token)[ACTORS]
    host = urlsplit(address).hostname or ""
    with chromium(host) as browser:
        wait = WebDriverWait(browser, 60)
        opened(browser, f"{address}/#/jobs")
        field = wait.until(lambda _: browser.find_element(By.CSS_SELECTOR, "input[placeholder*=token]"))
        field.send_keys(token)
        browser.find_element(By.XPATH, "//button[contains(., 'Submit')]").click()
        wait.until(lambda _: "SUCCEEDED" in browser.page_source)
        wait.until(lambda _: not browser.find_elements(By.CSS_SELECTOR, "input[placeholder*=token]"))
        assert "jobs/scale_sweep.py" in browser.page_source
        screenshot(browser, "ray-jobs")
        assert asked_elsewhere(browser, address) == []


def test_a_job_that_cannot_work_fails_with_one_sentence(cluster: Cluster, bucket: Store):
    ended = cluster.submit(*WAVEFORM, *PLACES, "out=never", "sizes=[999999]", id="too-large")
    assert ended.returncode != 0
    assert "999999 train songs were asked for" in ended.stdout
    assert "Traceback" not in ended.stdout
    lost = cluster.submit(*WAVEFORM, "corpus=s3://music/shards", id="lost-folder")
    assert lost.returncode != 0
    assert "out=scale_sweep lies in the folder of this submitted job, which Ray deletes" in lost.stdout


def listeners(table: Path) -> set[int]:
    """The ports on which a namespace listens, from the kernel's table of its sockets."""
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}


def test_the_s3_server_opens_its_s3_port_alone(cluster: Cluster):
    """Its other servers (filer, master, volumes) ask for no key."""
    server = int((cluster.state / "s3.pid").read_text())
    endpoint = urlsplit(cluster.client["AWS_ENDPOINT_URL"])
    listening = {port for family in ("tcp", "tcp6") for port in listeners(Path(f"/proc/{server}/net/{family}"))}
    assert len(listening) > 3

    def is_open(port: int) -> bool:
        with socket.socket() as door:
            door.settimeout(2)
            return door.connect_ex((endpoint.hostname, port)) == 0

    with ThreadPoolExecutor(16) as pool:
        opened = {port for port, answers in zip(listening, pool.map(is_open, listening), strict=True) if answers}
    assert opened == {endpoint.port}


def test_the_state_is_for_its_owner_alone(cluster: Cluster, tmp_path: Path):
    """Nobody else can read the token, or put another one in its place; none is an argument, which any user reads."""
    assert cluster.state.stat().st_mode & 0o777 == 0o700
    token = (cluster.state / "token").read_text()
    assert not [p.pid for p in psutil.process_iter(["cmdline"]) if token in " ".join(p.info["cmdline"] or [])]
    planted = tmp_path / "planted"
    planted.mkdir(mode=0o777)
    planted.chmod(0o777)
    (planted / "up").touch()
    (planted / "token").write_text("a stranger's")
    for arguments in (("env",), ("up", "1"), ("down",)):
        command = [str(ROOT / "cluster/local.sh"), *arguments]
        settings = {**cluster.settings, "GENRESCALE_CLUSTER": str(planted)}
        ended = subprocess.run(command, env=outside(settings), capture_output=True, text=True, timeout=60)
        assert ended.returncode == 1
        assert "stranger" not in ended.stdout
        assert len(ended.stderr.strip().splitlines()) <= 2
    assert (planted / "token").exists()


def test_no_job_without_the_token(cluster: Cluster, tmp_path: Path):
    (tmp_path / "token").write_text("wrong")
    ended = cluster.ray("job", "list", RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
    assert ended.returncode != 0
