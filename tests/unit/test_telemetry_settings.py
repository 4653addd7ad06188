"""Settings of telemetry act or are refused; reports wait for nobody; Prometheus finds a job in a folder."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from genrescale.config.telemetry import TelemetryConfig
from genrescale.launch.site_metrics import SiteMetrics
from genrescale.storage.store import Store
from genrescale.telemetry.recorder import Recorder, Report
from genrescale.telemetry.reporting import Reporting
from genrescale.telemetry.targets import remove_target, write_target


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budget": 5.0}, "telemetry.budget has no effect without telemetry.port"),
        ({"host": "0.0.0.0", "nodes": 3}, "telemetry.host, telemetry.nodes has no effect"),
        ({"port": 70_000}, "telemetry.port=70000 must be from 0 to 65535"),
        ({"port": 1, "host": "example.org"}, "must be an IP address"),
        ({"port": 1, "targets": "here"}, "must be an absolute path"),
        ({"port": 1, "budget": 5.0}, "telemetry.budget needs telemetry.price_per_hour"),
        ({"port": 1, "price_per_hour": -1.0}, "price_per_hour"),
    ],
)
def test_a_setting_that_cannot_act_is_refused(settings: dict[str, Any], words: str):
    with pytest.raises(ValueError, match=words.replace(".", r"\.")):
        TelemetryConfig(**settings)


def test_telemetry_is_off_and_on_loopback_by_default():
    assert TelemetryConfig().port is None
    assert TelemetryConfig(port=9464).host == "127.0.0.1"


def test_reports_go_out_now_and_then_and_a_last_one_at_the_end():
    own, sent, second = Recorder("a"), list[tuple[Report, bool]](), threading.Event()

    def send(report: Report, last: bool) -> None:
        sent.append((report, last))
        if len(sent) > 1:
            second.set()

    with Reporting(own, send, every_s=0.01):
        assert second.wait(60)
        own.add("genrescale_stage_songs_total", 3, stage="tag_corpus")
    report, last = sent[-1]
    assert last
    assert report.counters == {("genrescale_stage_songs_total", ("tag_corpus",)): 3}
    assert [report.sequence for report, _ in sent] == list(range(1, len(sent) + 1))


def test_a_collector_that_does_not_answer_ends_no_job():
    def fail(*_: object) -> None:
        raise ConnectionError("the actor is dead")

    with Reporting(Recorder("a"), fail, look=fail, every_s=0.01):
        pass


def test_a_target_is_written_whole_and_removed(tmp_path: Path):
    path = write_target(str(tmp_path / "new"), "127.0.0.1", 9464, ["10.0.0.2:8090", "10.0.0.1:8090"])
    assert json.loads(path.read_text()) == [
        {"targets": ["127.0.0.1:9464"], "labels": {"job": "genrescale"}},
        {"targets": ["10.0.0.1:8090", "10.0.0.2:8090"], "labels": {"job": "ray"}},
    ]
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    write_target(str(tmp_path / "new"), "::1", 9464)
    assert '"[::1]:9464"' in (tmp_path / "new" / "genrescale---1-9464.json").read_text()
    remove_target(str(tmp_path / "new"), "127.0.0.1", 9464)
    remove_target(str(tmp_path / "new"), "127.0.0.1", 9464)
    assert not path.exists()


def test_a_node_that_is_lost_and_the_room_on_the_disk_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nodes = [
        {"Alive": True, "NodeManagerAddress": f"10.0.0.{i}", "MetricsExportPort": 8090, "Resources": {}}
        for i in (1, 2, 3)
    ]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 12.0})
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr("genrescale.launch.site_metrics._EVERY_S", 0.0)
    own, announced = Recorder("driver"), list[list[str]]()
    look = SiteMetrics(own, TelemetryConfig(port=0), Store(str(tmp_path / "later")), announced.append)
    look()
    nodes[1]["Alive"] = False
    look()
    gauges = {
        (name.removeprefix("genrescale_"), *labels): value for (name, labels), value in own.report().gauges.items()
    }
    assert gauges["cluster_nodes",] == 2
    assert gauges["cluster_expected_nodes",] == 3
    assert gauges["cluster_cpus", "taken"] == 10
    assert 0 < gauges["disk_free_bytes",] < gauges["disk_size_bytes",]
    assert announced == [["10.0.0.1:8090", "10.0.0.2:8090", "10.0.0.3:8090"], ["10.0.0.1:8090", "10.0.0.3:8090"]]


def test_the_nodes_that_are_expected_may_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("nodes", "cluster_resources", "available_resources"):
        monkeypatch.setattr(f"ray.{name}", dict)
    own = Recorder("driver")
    SiteMetrics(own, TelemetryConfig(port=0, nodes=4), Store(str(tmp_path)), lambda _: None)()
    assert own.report().gauges[("genrescale_cluster_expected_nodes", ())] == 4


def test_what_a_killed_job_left_for_prometheus_is_removed_by_the_next_one(tmp_path: Path):
    with socket.socket() as living, socket.socket() as dead:
        living.bind(("127.0.0.1", 0))
        living.listen()
        dead.bind(("127.0.0.1", 0))
        kept = write_target(str(tmp_path), "127.0.0.1", living.getsockname()[1])
        left = write_target(str(tmp_path), "127.0.0.1", dead.getsockname()[1])
        other = write_target(str(tmp_path), "10.0.0.9", 9464)  # of another machine
        own = write_target(str(tmp_path), "127.0.0.1", 9464)
        assert sorted(tmp_path.glob("*.json")) == sorted([kept, other, own])
        assert not left.exists()
