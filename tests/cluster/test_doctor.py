"""The doctor on a real S3 server and a real Ray; and what a worker leaves that fails by a mistake of ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import fsspec
import pytest
import ray
from helpers.picky import Picky, picky
from helpers.servers import S3Server

from genrescale.doctor.all_checks import store_findings
from genrescale.doctor.finding import Finding
from genrescale.launch import nodes
from genrescale.launch.worker_logs import KEPT, worker_lines_kept
from genrescale.storage.store import Store

pytestmark = pytest.mark.cluster
RIGHTS = ["put", "get", "list", "if absent", "delete"]


@pytest.fixture
def rules(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Picky]:
    with picky(server.endpoint) as rules:
        for name, value in (server.environment | {"AWS_ENDPOINT_URL": rules.endpoint}).items():
            monkeypatch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # clients remember their endpoint
        yield rules
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def findings() -> dict[str, Finding]:
    return {finding.check: finding for finding in store_findings(Store("s3://music/doctored"))}


def test_a_bucket_with_all_rights_is_left_as_it_was(rules: Picky):
    found = findings()
    assert {name: finding.state for name, finding in found.items()} == dict.fromkeys(
        (*(f"store {right}" for right in RIGHTS), "store clock"), "ok"
    )
    assert Store("s3://music/doctored").list() == []


@pytest.mark.parametrize(
    ("denied", "right", "needed"),
    [("DELETE", "delete", "s3:DeleteObject"), ("list", "list", "s3:ListBucket"), ("PUT", "put", "s3:PutObject")],
)
def test_a_bucket_without_a_right(rules: Picky, denied: str, right: str, needed: str):
    rules.denied = {denied}
    found = findings()
    wrong = [name for name, finding in found.items() if finding.state == "fault"]
    assert wrong == [f"store {right}"]
    assert needed in found[f"store {right}"].mend
    if right == "delete":
        (left,) = Store("s3://music/doctored").list()
        assert f"{left} stays there" in found["store delete"].found
        rules.denied = set()
        Store("s3://music/doctored").delete(left)


def test_a_store_that_passes_over_conditions(rules: Picky, monkeypatch: pytest.MonkeyPatch):
    def overwrite(self: Store, path: str, data: bytes, before: object) -> bool:
        self.write_bytes(path, data)
        return True

    monkeypatch.setattr(Store, "write_if", overwrite)
    found = findings()
    assert [name for name, finding in found.items() if finding.state != "ok"] == ["store if absent"]
    assert found["store if absent"].state == "warning"
    assert "If-None-Match" in found["store if absent"].mend


def test_a_bucket_whose_server_has_another_time(rules: Picky):
    rules.ahead_s = 600
    assert findings()["store clock"].state == "fault"


def test_every_node_is_examined_and_its_clock_compared(ray_cluster: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nodes, "connect", lambda: nullcontext())
    monkeypatch.setenv("RAY_ADDRESS", "the session's")
    found = list(nodes.ray_findings(use_gpu=False))
    (alive, *of_node) = found
    assert alive.found == "1 alive"
    checks = [finding.check.partition(" ")[2] for finding in of_node]
    assert checks[0] == "python"
    assert {"torch", "ray", "gpus", "shared memory", "disk", "clock"} <= set(checks)
    assert "ray's ports" not in checks
    assert {finding.state for finding in of_node if "clock" in finding.check} == {"ok"}
    monkeypatch.setattr(nodes.time, "time", lambda: 0.0)  # of this process
    assert next(f for f in nodes.ray_findings(False) if f.check.endswith(" clock")).state == "fault"


def test_the_last_lines_of_a_worker_stay_with_the_exception(ray_cluster: None):
    """As a job's log has them; a private Ray's files are gone when the job ends."""

    @ray.remote(num_cpus=0)
    def fails() -> None:
        import sys

        for i in range(30):
            print(f"line {i} of the worker", file=sys.stderr, flush=True)
        raise TypeError("wrong")

    with pytest.raises(TypeError) as caught, worker_lines_kept():
        ray.get(fails.remote())
    kept = getattr(caught.value, KEPT)
    assert "line 29 of the worker" in kept
    assert "line 10 of the worker" in kept
    assert "line 9 of the worker" not in kept


def test_a_run_that_fails_by_a_mistake_leaves_its_trace_and_its_last_lines(ray_cluster: None, tmp_path: Path):
    @ray.remote(num_cpus=0)
    def work(out: str) -> str:
        import sys

        from genrescale.launch.worker_job import _logged

        print("what the worker said", file=sys.stderr, flush=True)
        try:
            raise TypeError("unsupported operand")
        except TypeError as error:
            return _logged(Store(out), "0a1b2c3d4e5f", error)

    sentence = ray.get(work.remote(str(tmp_path)))
    log = tmp_path / "runs" / "0a1b2c3d4e5f" / "error.log"
    assert sentence == f"; its log: {log}"
    trace, _, lines = log.read_text().partition("The worker's last lines:\n")
    assert "TypeError: unsupported operand" in trace
    assert "what the worker said" in lines
    assert os.stat(log).st_size < 100_000
