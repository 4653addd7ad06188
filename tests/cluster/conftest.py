"""What tests with Ray share: one cluster for a whole session, jobs run on it, and one undisturbed sweep."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from helpers import job_runs
from helpers.job_runs import RunJob
from helpers.servers import S3Server, s3_server
from helpers.sweeps import ONE_SIZE

from genrescale.data.manifest import Manifest
from genrescale.launch.cluster import connect
from genrescale.storage.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def temporary() -> Iterator[Path]:
    """The folder of temporary files of the session's Ray and its workers. Short: sockets have 107 characters."""
    folder = tempfile.mkdtemp(prefix="gs-", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ray_cluster(server: S3Server, temporary: Path) -> Iterator[None]:
    """A private Ray of 4 logical CPUs for all tests that need none of their own; its processes know the S3 server.

    A second one would cost ten seconds, and every job's own workers as long again: here they stay from test to test.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**server.environment, "TMPDIR": str(temporary)}.items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", None)  # it keeps what TMPDIR was
        folders = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(folders))
        cluster = connect(num_cpus=4, trains=True)
        cluster.__enter__()
    yield
    cluster.__exit__(None, None, None)


@pytest.fixture(scope="session")
def job(ray_cluster: None) -> RunJob:
    """``job(name, *overrides)`` runs a job's file in this process, on the session's Ray instead of one of its own."""

    def run(name: str, *overrides: str) -> job_runs.Ended:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("genrescale.launch.cluster.connect", lambda *_, **__: nullcontext())
            return job_runs.run(name, *overrides)

    return run


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """For jobs as processes with a Ray of their own.

    A temporary folder for each module, with a short path: sockets have at most 107 characters.
    """
    folder = tempfile.mkdtemp(prefix="gs-", dir="/tmp")
    inherited = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    yield {**inherited, "TMPDIR": folder, "PYTHONPATH": str(ROOT)}
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def swept(job: RunJob, corpus: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The undisturbed sweep ONE_SIZE on local folders, and what it printed. A cluster ends with the same."""
    out = tmp_path_factory.mktemp("sweep")
    ended = job("scale_sweep", *ONE_SIZE, f"corpus={corpus.uri}", f"out={out}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return out, ended.stdout


@pytest.fixture(scope="session")
def near(swept: tuple[Path, str]) -> Store:
    return Store(str(swept[0]))
