"""The dashboards are those that the table of metrics gives, and follow the rules of grafana/dashboard-linter."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from helpers.prometheus import ROOT, filled_in, find, panels, queries

from genrescale.telemetry.metric_table import METRICS

sys.path.insert(0, str(ROOT))

from dashboards._panels import promql as expanded
from dashboards.generate import BOARDS, board_json

FILES = sorted((ROOT / "dashboards").glob("*.json"))
ALERTS = yaml.safe_load((ROOT / "dashboards" / "alerts.yml").read_text())["groups"][0]["rules"]
each_board = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
each_panel = pytest.mark.parametrize(
    ("board", "panel"), [pytest.param(*found, id=f"{found[0]}: {found[1]['title']}") for found in panels()]
)
each_query = pytest.mark.parametrize("expr", queries().values(), ids=list(queries()))
# as the linter's list has them, those that are used here
UNITS = {"none", "short", "percent", "percentunit", "flops", "bytes", "Bps", "s", "h", "cps", "cpm"}


def test_the_files_are_those_that_the_table_of_metrics_gives():
    made = {f"{board.name}.json": board_json(board) for board in BOARDS}
    assert {path.name: path.read_text() for path in FILES} == made
    assert set(made) == {"sweep.json", "run.json", "data.json", "cluster.json"}


def test_a_metric_that_is_not_in_the_table_is_no_panel():
    with pytest.raises(KeyError):
        expanded("sum(%songs_per_fortnight)")


@each_board
def test_data_source_job_and_instance_are_variables_and_the_board_is_uneditable(path: Path):
    board = json.loads(path.read_text())
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert board["editable"] is False
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    assert variables["datasource"]["label"] == "Data source"
    labels = {"job": "Job", "instance": "Instance", "study": "Study", "family": "Family", "trial": "Run"}
    if path.stem == "cluster":
        del labels["trial"]  # nodes are of no single run
    for name, label in labels.items():
        assert (variables[name]["type"], variables[name]["label"]) == ("query", label)
        assert variables[name]["multi"]
        assert variables[name]["includeAll"]
    assert variables["job"]["allValue"] == variables["instance"]["allValue"] == ".+"
    for variable in variables.values():
        if variable["type"] == "query":
            assert variable["datasource"]["uid"] == "$datasource"
            assert variable["refresh"] == 2  # when the time range changes
            series = re.fullmatch(r"label_values\((.+), \w+\)", variable["query"]["query"])
            assert series
            promql.parse(filled_in(series[1]))


@each_board
def test_every_variable_is_used(path: Path):
    board = json.loads(path.read_text())
    used = json.dumps([board["panels"], [v.get("query") for v in board["templating"]["list"]]])
    assert all(f"${variable['name']}" in used for variable in board["templating"]["list"])


@each_board
def test_no_two_panels_lie_upon_another(path: Path):
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@each_panel
def test_every_panel_says_what_it_shows_of_which_source(board: str, panel: dict[str, Any]):
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "$datasource"}
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert 'job=~"$job"' in target["expr"]
        assert 'instance=~"$instance"' in target["expr"]


def test_ids_of_panels_are_unique():
    ids = [(board, panel["id"]) for board, panel in panels()]
    assert len(set(ids)) == len(ids)


def nodes(expr: object, parents: tuple[object, ...] = ()) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Every part of a parsed expression, with what it is in."""
    yield expr, parents
    inner = (*parents, expr)
    if isinstance(expr, promql.Call):
        for argument in expr.args:
            yield from nodes(argument, inner)
    elif isinstance(expr, promql.BinaryExpr):
        yield from nodes(expr.lhs, inner)
        yield from nodes(expr.rhs, inner)
    elif isinstance(expr, (promql.AggregateExpr, promql.ParenExpr, promql.UnaryExpr, promql.SubqueryExpr)):
        yield from nodes(expr.expr, inner)
    elif isinstance(expr, promql.MatrixSelector):
        yield from nodes(expr.vector_selector, inner)


def selectors(expr: str) -> list[tuple[Any, tuple[Any, ...]]]:
    return [(node, parents) for node, parents in nodes(promql.parse(expr)) if isinstance(node, promql.VectorSelector)]


def is_ray(name: str) -> bool:
    return name == "up" or name.startswith("ray_")


@each_query
def test_queries_are_valid_and_ask_for_labels_that_metrics_have(expr: str):
    found = selectors(expr)
    assert found
    for selector, _ in found:
        labels = {matcher.name for matcher in selector.matchers.matchers} - {"__name__"}
        known = set() if is_ray(selector.name) else {"study", *METRICS[selector.name].labels}
        assert labels <= {"job", "instance", *known}, selector.name
        assert {"job", "instance"} <= labels


@each_panel
def test_rates_are_over_the_rate_interval(board: str, panel: dict[str, Any]):
    for target in panel["targets"]:
        ranges = re.findall(r"\b(?:rate|irate|increase)\([^\[]*\[([^\]]+)\]", target["expr"])
        assert set(ranges) <= {"$__rate_interval"}
        assert target["expr"].count("[") == len(ranges)


@each_query
def test_counters_are_shown_as_rates_but_for_what_a_study_or_stage_has_come_to(expr: str):
    for selector, parents in selectors(expr):
        if selector.name.endswith("_total") and not is_ray(selector.name):
            rated = any(isinstance(node, promql.Call) and node.func.name in ("rate", "increase") for node in parents)
            so_far = selector.name.startswith(("genrescale_study_", "genrescale_stage_", "genrescale_verify_"))
            assert rated or so_far or selector.name in ("genrescale_restarts_total", "genrescale_checkpoints_total")


@each_query
def test_labels_that_are_kept_are_labels_of_the_metrics(expr: str):
    have = {"job", "instance"}
    for selector, _ in selectors(expr):
        if not is_ray(selector.name):
            have |= {"study", *METRICS[selector.name].labels}
    for node, _ in nodes(promql.parse(expr)):
        if isinstance(node, promql.AggregateExpr) and node.modifier:
            assert set(node.modifier.labels) <= have


def test_every_metric_is_on_a_dashboard_or_in_an_alert():
    text = "".join(queries().values()) + json.dumps(ALERTS)
    hidden = {name for name in METRICS if not re.search(rf"\b{name}\b", text)}
    # sums that have a panel by run, or by attempt
    assert {name for name in hidden if not name.startswith("genrescale_study_")} == set()


# Alerts


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_is_of_metrics_that_exist_and_leads_to_what_to_do(rule: dict[str, Any]):
    for selector, _ in selectors(rule["expr"]):
        known = {"study", *METRICS[selector.name].labels}
        assert {matcher.name for matcher in selector.matchers.matchers} - {"__name__"} <= known
    document, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / document).read_text(), re.MULTILINE)
    assert anchor == rule["alert"].lower()
    assert rule["alert"] in headings
    assert rule["annotations"]["summary"]
    assert rule["labels"]["severity"] in ("warning", "critical")


def test_alerts_fire_when_they_should_and_not_otherwise():
    cases = yaml.safe_load((ROOT / "dashboards" / "alerts_test.yml").read_text())["tests"]
    tried = [(part["alertname"], bool(part.get("exp_alerts"))) for case in cases for part in case["alert_rule_test"]]
    assert set(tried) == {(rule["alert"], fires) for rule in ALERTS for fires in (True, False)}
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        ended = subprocess.run(
            [find("promtool"), *arguments], cwd=ROOT / "dashboards", capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_configuration_of_prometheus_is_valid():
    command = [find("promtool"), "check", "config", str(ROOT / "cluster/prometheus/prometheus.yml")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr
