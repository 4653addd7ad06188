"""Tasks tell their progress through the cluster's store, which must neither slow the job down nor fail it. No Ray."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from genrescale.data import tasks
from genrescale.data.tasks import run_tasks
from genrescale.telemetry.ticks import tick


class Cluster:
    """Runs a task when it is submitted; the first one ends first. Counts the requests to its store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stored: dict[str, str] = {}
        self.requests: list[str] = []
        self.is_down = False
        remote = "genrescale.data.tasks.ray."
        monkeypatch.setattr(f"{remote}cluster_resources", lambda: {"CPU": 4})
        monkeypatch.setattr(f"{remote}remote", self._task)
        monkeypatch.setattr(f"{remote}wait", lambda waited, **_: (waited[:1], waited[1:]))
        monkeypatch.setattr(f"{remote}get", lambda reference: reference[0])
        for name in ("put", "get", "del"):
            monkeypatch.setattr(tasks.internal_kv, f"_internal_kv_{name}", getattr(self, f"_{name}"))

    @staticmethod
    def _task(function: Callable[..., Any]) -> SimpleNamespace:
        task = SimpleNamespace(remote=lambda item, key: (function(item, key), key))
        return SimpleNamespace(options=lambda **_: task)

    def _request(self, kind: str) -> None:
        self.requests.append(kind)
        if self.is_down:
            raise RuntimeError("the store of the cluster does not answer")

    def _put(self, key: str, value: str, overwrite: bool) -> None:
        self._request("put")
        self.stored[key] = value

    def _get(self, key: str) -> str | None:
        self._request("get")
        return self.stored.get(key)

    def _del(self, key: str) -> None:
        self._request("del")
        self.stored.pop(key, None)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(tasks, "_TOLD_S", 0.0)
    monkeypatch.setattr(tasks, "_LOOK_S", 0.0)
    return Cluster(monkeypatch)


def ticking(item: int) -> int:
    for _ in range(item):
        tick()
    return item


def test_progress_is_told_and_nothing_of_it_is_left(cluster: Cluster):
    told: list[int] = []
    assert list(run_tasks(ticking, [3, 2, 1], "test", partly=told.append)) == [3, 2, 1]
    assert told == [3, 1, 0]
    assert cluster.stored == {}


def test_the_store_is_not_asked_each_time_that_a_task_ends(cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tasks, "_LOOK_S", 3600.0)
    assert list(run_tasks(ticking, [1] * 9, "test", partly=lambda _: None)) == [1] * 9
    assert (cluster.requests.count("get"), cluster.requests.count("del")) == (0, 9)


def test_a_store_that_does_not_answer_fails_no_task(cluster: Cluster):
    cluster.is_down = True
    assert list(run_tasks(ticking, [3, 2], "test", partly=lambda _: None)) == [3, 2]
    assert {*cluster.requests} == {"put", "get", "del"}


def test_what_tasks_told_is_deleted_where_the_job_stops(cluster: Cluster):
    results: Any = run_tasks(ticking, [3, 2, 1], "test", partly=lambda _: None)
    assert next(results) == 3
    results.close()
    assert cluster.stored == {}
