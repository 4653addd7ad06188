"""Panels as they are written down, and their queries: names and labels come from the table of metrics.

In an expression ``%clips_total`` stands for the metric of that name with the matchers of the dashboard's variables, and
``%run_seconds_total{activity="train"}`` for the same with a matcher of its own. A name that neither the table nor Ray
has is a KeyError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from genrescale.telemetry.metric_table import METRICS, PREFIX

SCRAPE = ("job", "instance")
VARIABLES = ("study", "family", "trial")
RAY = ("ray_node_", "ray_object_store_")
_METRIC = re.compile(r"%(\w+)(?:\{([^}]*)\})?")

Style = Literal["lines", "stack", "stat", "band"]


@dataclass(frozen=True)
class Query:
    """An expression and the name of its lines."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class PanelSpec:
    """A panel: ``unit`` as Grafana calls it.

    ``style`` ``band`` is repeated for each family, and fills between the lines that are called ``least`` and ``most``.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    style: Style = "lines"
    width: int = 8


@dataclass(frozen=True)
class Board:
    """A dashboard: rows of panels by title."""

    name: str
    title: str
    description: str
    rows: dict[str, tuple[PanelSpec, ...]]
    bands: bool = False


def one(
    title: str, description: str, unit: str, expr: str, legend: str = "", style: Style = "lines", width: int = 8
) -> PanelSpec:
    """A panel of one query."""
    return PanelSpec(title, description, unit, (Query(expr, legend),), style, width)


def promql(expr: str) -> str:
    """The expression with full names and the matchers of the dashboards' variables."""
    return _METRIC.sub(lambda found: _selector(found[1], found[2] or ""), " ".join(expr.split()))


def _selector(name: str, own: str) -> str:
    if name == "up" or name.startswith(RAY):
        full, labels = name, ()
    else:
        full = PREFIX + name
        labels = ("study", *METRICS[full].labels)
    matchers = [f'{label}=~"${label}"' for label in (*SCRAPE, *VARIABLES) if label in (*SCRAPE, *labels)]
    return f"{full}{{{', '.join([*matchers, *filter(None, [own])])}}}"


def metrics_of(expr: str) -> set[str]:
    """The metrics of an expression, by their names in the table or Ray's."""
    return {found[1] for found in _METRIC.finditer(expr)}
