"""A cluster of three nodes on this machine (cluster/local.sh), as its user sees it, and what may die of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import s3fs
from helpers.processes import descendants

from genrescale.data.manifest import Manifest
from genrescale.storage.store import Store

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")


def outside(*more: Mapping[str, str]) -> dict[str, str]:
    """The environment without what the Ray of this process has set in it, and ``more``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    return {name: value for part in (kept, *more) for name, value in part.items()}


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
        ended = subprocess.run(command, env=outside(self.settings), capture_output=True, text=True, timeout=600)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def up(self, nodes: int) -> None:
        self.client = dict(re.findall(r"(\w+)=(\S+)", self.local("up", str(nodes))))

    def ray(self, *arguments: str, timeout: int = 400, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(RAY), *arguments],
            cwd=ROOT,
            env=outside(self.client, env),
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
        return [process.pid for top in tops for process in descendants(top, name)]

    def node_of(self, pid: int) -> int:
        """The number of the node that a process runs on."""
        ancestors = {parent.pid for parent in psutil.Process(pid).parents()}
        for path in self.state.glob("node*.pid"):
            if int(path.read_text()) in ancestors:
                return int(path.stem.removeprefix("node"))
        raise ValueError(f"{pid} runs on no node")


def told(ended: subprocess.CompletedProcess[str]) -> str:
    return (ended.stdout + ended.stderr).lower()


def wait_for(what: str, found: Callable[[], object], timeout: float = 240.0) -> None:
    deadline = time.monotonic() + timeout
    while not found():
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s for {what}"
        time.sleep(0.2)


@contextmanager
def cluster_of_nodes(state: Path, nodes: int) -> Iterator[Cluster]:
    """So many nodes, with their state in ``state``. Without root the test is skipped; in CI that is a failure."""
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("several nodes on one machine need root (network namespaces)")
        pytest.skip("several nodes on one machine need root (network namespaces)")
    cluster = Cluster(state)
    try:
        cluster.up(nodes)
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


def checkpoints(bucket: Store, out: str) -> set[bytes]:
    """The checkpoints that Ray Train would resume from; one that is still being written is none of them."""
    snapshots = [path for path in bucket.list(f"{out}/checkpoints") if path.endswith("_snapshot.json")]
    return {name for path in snapshots for name in re.findall(rb"checkpoint_\d[\w.-]+", bucket.read_bytes(path))}
