"""A real Prometheus for tests, which finds jobs in a folder, and the queries of dashboards as Grafana asks them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

import pytest

ROOT = Path(__file__).parents[2]
RATE_INTERVAL = "15s"
VARIABLES = {
    "__rate_interval": RATE_INTERVAL,
    **{"job": ".+", "instance": ".+", "study": ".*", "family": ".*", "trial": ".*", "size": ".*", "metric": "pr_auc"},
}
# Half the time between two scrapes: of a job that was scraped once, Prometheus shows the values for no longer than that
_STEP_S = 0.5
_CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: genrescale
    file_sd_configs: [{{files: ["{targets}/genrescale-*.json"]}}]
"""


def find(program: str) -> str:
    """The path of ``prometheus`` or ``promtool``. Absent, the test is skipped; in CI that is a failure."""
    if (path := shutil.which(program)) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs {program} (Debian's package prometheus)")
        pytest.skip(f"no {program} here (Debian's package prometheus)")
    return path


@dataclass(frozen=True)
class Prometheus:
    """``targets`` is the folder in which it finds jobs, ``began_s`` when it started."""

    url: str
    targets: Path
    began_s: float

    def ask(self, path: str, **arguments: object) -> Any:
        """The data of an answer of its API. Raises AssertionError with the reason for a query that is refused."""
        opener = build_opener(ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/api/v1/{path}?{urlencode(arguments)}", timeout=30) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            raise AssertionError(f"{arguments}: {error.read().decode()}") from None

    def series(self, expr: str) -> list[Any]:
        """What a panel would draw from the start until now."""
        return self.ask("query_range", query=expr, start=self.began_s, end=time.time(), step=_STEP_S)["result"]

    def value(self, expr: str) -> float:
        """The value of an expression of one series."""
        (result,) = self.ask("query", query=expr)["result"]
        return float(result["value"][1])


@contextmanager
def prometheus(folder: Path) -> Iterator[Prometheus]:
    """Start it in ``folder``, with the project's alert rules, on loopback."""
    (targets := folder / "targets").mkdir()
    (folder / "prometheus.yml").write_text(_CONFIG.format(rules=ROOT / "dashboards" / "alerts.yml", targets=targets))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        find("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    own = Prometheus(f"http://127.0.0.1:{port}", targets, time.time())
    try:
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                own.ask("query", query="vector(1)")
                break
            except (URLError, AssertionError, ConnectionError):
                time.sleep(0.1)
        yield own
    finally:
        process.terminate()
        process.wait()


def panels() -> list[tuple[str, dict[str, Any]]]:
    """Every panel of every dashboard, with the dashboard's name."""
    return [
        (path.stem, panel)
        for path in sorted((ROOT / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
        if panel["type"] != "row"
    ]


def filled_in(expr: str) -> str:
    """An expression with the values of its variables where all of them are chosen."""
    for name, value in VARIABLES.items():
        expr = expr.replace(f"${name}", value)
    return expr


def queries() -> dict[str, str]:
    """Every query of every panel, by dashboard, panel and letter."""
    return {
        f"{board}: {panel['title']} ({target['refId']})": filled_in(target["expr"])
        for board, panel in panels()
        for target in panel["targets"]
    }
