"""Write the Grafana dashboards beside this file: python dashboards/generate.py

They follow from the table of metrics (genrescale/telemetry/metric_table.py) and the panels of ``_sweep.py``,
``_run.py``, ``_data.py`` and ``_cluster.py``. A test generates them again and finds no difference.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueTextMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)

from dashboards._cluster import CLUSTER
from dashboards._data import DATA
from dashboards._panels import VARIABLES, Board, PanelSpec, promql
from dashboards._run import RUN
from dashboards._sweep import SWEEP
from genrescale.config.metrics import ROW_METRICS

FOLDER = Path(__file__).parent
BOARDS = (SWEEP, RUN, DATA, CLUSTER)
_SOURCE = model.DataSourceRef(type_val="prometheus", uid="$datasource")
_HEIGHT = {"stat": 5}
_METRICS = ("pr_auc", *(name for name in ROW_METRICS if name != "pr_auc"), "loss")
_ALL = model.VariableOption(selected=True, text=["All"], value=["$__all"])


def board_json(board: Board) -> str:
    """The dashboard as Grafana reads it."""
    made = (
        build.Dashboard(board.title)
        .uid(f"genrescale-{board.name}")
        .description(board.description)
        .tags(["genrescale"])
        .readonly()
        .refresh("30s")
        .time("now-3h", "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .variables(_variables(board))
    )
    number = 0
    for title, panels in board.rows.items():
        made.with_row(build.Row(title))
        for spec in panels:
            number += 1
            made.with_panel(_panel(spec).id(number))
    return json.dumps(made.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _variables(board: Board) -> list[Any]:
    source = build.DatasourceVariable("datasource").label("Data source").type("prometheus")
    found = [
        source.current(model.VariableOption(selected=True, text="default", value="default")),
        _labels_of("job", "Job", "up"),
        _labels_of("instance", "Instance", 'up{job=~"$job"}'),
        _labels_of("study", "Study", 'genrescale_telemetry_series{job=~"$job", instance=~"$instance"}'),
        _labels_of("family", "Family", 'genrescale_step{job=~"$job", study=~"$study"}'),
        _labels_of("trial", "Run", 'genrescale_step{job=~"$job", study=~"$study", family=~"$family"}'),
    ]
    if board.bands:
        sizes = _labels_of("size", "Songs (of the bands)", 'genrescale_step{job=~"$job", study=~"$study"}')
        found.append(sizes.multi(False).include_all(False).current(model.VariableOption()))
        options = [model.VariableOption(selected=name == _METRICS[0], text=name, value=name) for name in _METRICS]
        found.append(
            build.CustomVariable("metric")
            .label("Score")
            .values(",".join(_METRICS))
            .options(options)
            .current(options[0])
        )
    return [variable for variable in found if _is_used(variable, board)]


def _is_used(variable: Any, board: Board) -> bool:
    """Whether a panel asks for a variable's value; those of scrapes always do."""
    name = variable.build().name
    exprs = [promql(query.expr) for panels in board.rows.values() for panel in panels for query in panel.queries]
    return name == "datasource" or any(f'"${name}"' in expr for expr in exprs)


def _labels_of(label: str, title: str, series: str) -> build.QueryVariable:
    """A variable of what a label is in ``series``; it may be several values, or all."""
    text = f"label_values({series}, {label})"
    return (
        build.QueryVariable(label)
        .label(title)
        .datasource(_SOURCE)
        .query({"query": text, "refId": label})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.NUMERICAL_ASC)
        .multi(True)
        .include_all(True)
        # a series without the label, as Ray's have no study, must not be lost where all are wanted
        .all_value(".*" if label in VARIABLES else ".+")
        .current(_ALL)
    )


def _panel(spec: PanelSpec) -> Any:
    panel: Any = _stat() if spec.style == "stat" else _lines(spec)
    panel = panel.title(spec.title).description(spec.description).unit(spec.unit).datasource(_SOURCE)
    panel = panel.span(spec.width).height(_HEIGHT.get(spec.style, 8))
    for letter, query in zip("ABCDEF", spec.queries, strict=False):
        target = prometheus.Dataquery().expr(promql(query.expr)).legend_format(query.legend).ref_id(letter)
        panel = panel.with_target(target.range().datasource(_SOURCE))
    return panel


def _stat() -> stat.Panel:
    last = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    return (
        stat.Panel().reduce_options(last).color_mode(BigValueColorMode.NONE).text_mode(BigValueTextMode.VALUE_AND_NAME)
    )


def _lines(spec: PanelSpec) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .line_width(1)
        .show_points(VisibilityMode.AUTO)
        .span_nulls(True)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if spec.style == "stack":
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(60)
    if spec.style == "band":
        grey = _property("color", {"mode": "fixed", "fixedColor": "#9e9e9e"})
        panel = (
            panel.repeat("family")
            .override_by_name("mean", [_property("custom.lineWidth", 3)])
            .override_by_name("least", [_property("custom.lineWidth", 0), _hidden()])
            .override_by_name("most", [_property("custom.lineWidth", 0), _hidden(), *_filled_to("least")])
            .override_by_regexp("/^run /", [grey, _hidden()])
        )
    return panel


def _property(name: str, value: object) -> model.DynamicConfigValue:
    return model.DynamicConfigValue(id_val=name, value=value)


def _filled_to(name: str) -> list[model.DynamicConfigValue]:
    return [_property("custom.fillBelowTo", name), _property("custom.fillOpacity", 15)]


def _hidden() -> model.DynamicConfigValue:
    """Of lines whose name would only fill the legend."""
    return _property("custom.hideFrom", {"legend": True, "tooltip": False, "viz": False})


def main() -> None:
    for board in BOARDS:
        (FOLDER / f"{board.name}.json").write_text(board_json(board))
        print(f"dashboards/{board.name}.json")


if __name__ == "__main__":
    main()
