"""The table of metrics: names as Prometheus wants them, and each one written by the module that it names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from genrescale.telemetry.metric_table import METRICS, PREFIX, RANKED, Metric

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "genrescale").rglob("*.py"))
TABLE = ROOT / "genrescale/telemetry/metric_table.py"
each = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@each
def test_names_follow_prometheus(metric: Metric):
    assert re.fullmatch(rf"{PREFIX}[a-z][a-z_]*[a-z]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    base = metric.name.removesuffix("_total")
    if metric.unit in ("seconds", "bytes", "ratio", "flops", "flops_per_second"):
        assert base.endswith(f"_{metric.unit}")
    elif metric.unit == "timestamp":
        assert base.endswith("_timestamp_seconds")
    else:
        assert not re.search("_(seconds|bytes|ratio|milliseconds|percent|kilobytes|minutes|ms|mb)$", base)


@each
def test_every_metric_is_explained(metric: Metric):
    assert metric.help.endswith(".")
    assert len(metric.help) <= 160
    assert len(set(metric.labels)) == len(metric.labels)
    assert all(re.fullmatch("[a-z]+", label) for label in metric.labels)
    assert "study" not in metric.labels  # the collector adds it


def named_in(path: Path) -> set[str]:
    """Names of metrics in a module's strings; not in what it imports or says of itself."""
    return {
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch("genrescale_\\w+", node.value)
    }


def test_every_metric_is_written_by_its_writer_and_nothing_else_is_written():
    sums = {metric.study_name for metric in METRICS.values() if metric.kept}
    writers = {name: metric.writer for name, metric in METRICS.items() if name not in sums}
    written = {path: named_in(path) for path in SOURCES if path != TABLE}
    for name, writer in writers.items():
        assert [str(path.relative_to(ROOT)) for path, names in written.items() if name in names] == [writer], name
    assert set().union(*written.values()) == set(writers)


def test_sums_of_a_study_have_no_run_and_exist_for_every_counter_that_is_kept():
    for metric in METRICS.values():
        if metric.kept:
            assert not {"trial", "rank"} & set(METRICS[metric.study_name].labels)
            assert metric.kind == "counter"
    assert not [m.name for m in METRICS.values() if m.kept and set(RANKED).isdisjoint(m.labels)]
