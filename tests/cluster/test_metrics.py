"""A real Prometheus watches a sweep: every query of every dashboard has an answer, and sums are those of the rows."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
import ray
from helpers.job_runs import RunJob
from helpers.prometheus import Prometheus, prometheus, queries

from genrescale.config.telemetry import TelemetryConfig
from genrescale.data.manifest import Manifest
from genrescale.launch.telemetry import NAME, recording_here, serving
from genrescale.results import ResultRow, read_results
from genrescale.storage.store import Store
from genrescale.telemetry.metric_table import run_labels

pytestmark = pytest.mark.cluster
SWEEP = (
    *("sweep=demo", "sizes=[40]", "seeds=[0]", "synthesis.songs=64", "data.batch=8", "data.group=4"),
    *("optim.max_steps=24", "optim.validate_every=8", "telemetry.port=0", "telemetry.price_per_hour=2"),
)


class Watcher:
    """Asks the queries of all panels, again and again, until each has had an answer or the block ends."""

    def __init__(self, scraper: Prometheus) -> None:
        self._server, self._ended = scraper, threading.Event()
        self.unanswered, self.invalid = dict(queries()), dict[str, str]()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._ended.is_set() and self.unanswered:
            for name, expr in list(self.unanswered.items()):
                try:
                    if self._server.series(expr):
                        del self.unanswered[name]
                except AssertionError as error:
                    self.invalid[name] = str(error)
            self._ended.wait(1)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture(scope="module")
def scraper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as scraper:
        yield scraper


@pytest.fixture(scope="module")
def watched(
    scraper: Prometheus, job: RunJob, corpus: Manifest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Watcher, list[ResultRow]]:
    """A sweep of two trials at a time on songs that it makes, after a corpus was verified; and its rows."""
    announced = f"telemetry.targets={scraper.targets}"
    ended = job("verify_corpus", f"corpus={corpus.uri}", "telemetry.port=0", announced)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    out = tmp_path_factory.mktemp("watched")
    with Watcher(scraper) as watcher:
        ended = job("scale_sweep", *SWEEP, announced, f"out={out}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = list(read_results(Store(str(out))).values())
    assert len(rows) == 2
    return watcher, rows


def test_while_a_sweep_runs_no_query_of_a_dashboard_is_invalid_or_empty(watched: tuple[Watcher, list[ResultRow]]):
    watcher, _ = watched
    assert watcher.invalid == {}
    assert sorted(watcher.unanswered) == []


def test_after_a_sweep_no_query_of_a_dashboard_is_empty(scraper: Prometheus, watched: tuple[Watcher, list[ResultRow]]):
    assert [name for name, expr in queries().items() if not scraper.series(expr)] == []


def so_far(scraper: Prometheus, metric: str) -> float:
    """What a counter of the study had come to when it was last seen."""
    return scraper.value(f'sum(last_over_time({metric}{{family!=""}}[10m]))')


def test_sums_agree_with_the_result_rows(scraper: Prometheus, watched: tuple[Watcher, list[ResultRow]]):
    rows = watched[1]
    expected = {
        "genrescale_study_clips_total": sum(row.clips_per_s * row.seconds_training for row in rows),
        "genrescale_study_steps_total": sum(row.steps for row in rows),
        "genrescale_study_delivered_bytes_total": sum(row.bytes_delivered for row in rows),
        "genrescale_study_fetched_bytes_total": sum(row.bytes_fetched for row in rows),
        "genrescale_study_storage_retries_total": sum(row.storage_retries for row in rows),
        "genrescale_study_restarts_total": 0,
    }
    found = {name: so_far(scraper, name) for name in expected}
    assert found == pytest.approx(expected, rel=0.01)
    spent = scraper.value('sum(last_over_time(genrescale_study_run_seconds_total{activity!="start"}[10m]))')
    assert sum(row.seconds_training for row in rows) <= spent <= sum(row.seconds_total for row in rows)
    done = 'last_over_time(genrescale_study_trials{status="finished"}[10m])'
    assert scraper.value(done) == len(rows)


def test_scores_are_those_of_the_rows(scraper: Prometheus, watched: tuple[Watcher, list[ResultRow]]):
    for row in watched[1]:
        best = f'last_over_time(genrescale_study_best_score{{family="{row.model}", metric="pr_auc"}}[10m])'
        assert scraper.value(best) == pytest.approx(row.pr_auc)


def test_a_job_that_has_ended_leaves_no_target_and_no_actor(
    scraper: Prometheus, watched: tuple[Watcher, list[ResultRow]]
):
    assert list(scraper.targets.glob("*.json")) == []
    with pytest.raises(ValueError, match=NAME):
        ray.get_actor(NAME)


@ray.remote(max_retries=0)
def worker(dies: bool) -> None:
    """Counts ten steps and dies, or counts them to the end."""
    with recording_here({**run_labels("0123456789ab", "waveform", 40), "rank": "0"}) as said:
        said.add("genrescale_steps_total", 10)
        if dies:
            time.sleep(4)  # the next report is sent by then
            os._exit(1)


def test_what_a_worker_did_before_it_died_between_two_scrapes_is_counted_once(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("genrescale.launch.telemetry._LAST_SCRAPE_S", 0)  # nobody will come
    settings = TelemetryConfig(port=0, targets=str(tmp_path / "targets"))
    with serving(settings, Store(str(tmp_path))):
        (found,) = (tmp_path / "targets").glob("*.json")
        while len(groups := json.loads(found.read_text())) < 2:  # Ray's own follow at the first look
            time.sleep(0.1)
        target, of_ray = groups
        assert of_ray["labels"] == {"job": "ray"}
        assert target["targets"][0].startswith("127.0.0.1:")
        died = worker.remote(True)
        ray.wait([died])
        ray.get(worker.remote(False))
        with urlopen(f"http://{target['targets'][0]}/metrics") as answer:
            text = answer.read().decode()
    study = f'study="{tmp_path.name}"'
    assert f'genrescale_steps_total{{family="waveform",size="40",{study},trial="01234567"}} 20.0' in text


def test_a_port_that_is_taken_is_refused_in_one_sentence(job: RunJob, corpus: Manifest, ray_cluster: None):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = job("verify_corpus", f"corpus={corpus.uri}", f"telemetry.port={port}")
    assert ended.returncode == 2
    assert f"telemetry.port={port} of 127.0.0.1 cannot be listened on" in ended.stderr


@pytest.mark.parametrize(("host", "expected"), [("", {"127.0.0.1"}), ("0.0.0.0", {"127.0.0.1", "0.0.0.0"})])
def test_a_job_listens_on_loopback_alone_unless_it_is_told_otherwise(
    ray_cluster: None, tmp_path: Path, host: str, expected: set[str]
):
    settings = TelemetryConfig(port=0, host=host) if host else TelemetryConfig(port=0)
    with serving(settings, Store(str(tmp_path))):
        pid: Any = ray.get(ray.get_actor(NAME).pid.remote())
        connections = psutil.Process(pid).net_connections("tcp")
    listening = {c.laddr.ip.removeprefix("::ffff:") for c in connections if c.status == "LISTEN"}
    assert listening == expected
