"""Render the page of a study: its tables beside the paper's, as one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from genrescale.config.metrics import METRICS
from genrescale.display.html import render_template, resource
from genrescale.display.text import count_text
from genrescale.report.baselines import BaselineLine
from genrescale.report.figure import color_of
from genrescale.report.tables import order_families
from genrescale.report.trials import TrialOutcome
from genrescale.studies.figure import plots
from genrescale.studies.filled import FilledTable
from genrescale.studies.formats import paper_text, text_of
from genrescale.studies.study import Study

_PACKAGE = "genrescale.studies"


@dataclass(frozen=True, eq=False)
class StudyPage:
    """All that the page shows. ``answer`` is that of the scaling table, "" for a study without one.

    ``songs`` and ``report``: whether there is a page of songs, and the report of the scaling table, beside this one.
    """

    study: Study
    scale: str
    uri: str
    tables: Sequence[FilledTable]
    notes: Sequence[str]
    answer: str = ""
    songs: bool = False
    report: bool = False

    @property
    def baselines(self) -> list[BaselineLine]:
        """Every baseline of the tables once."""
        lines = [row.baseline for table in self.tables for row in table.rows if row.baseline]
        return list({line.row.baseline_id: line for line in lines}.values())

    @property
    def trials(self) -> list[TrialOutcome]:
        """Every trial once."""
        return list({trial.planned.run_id: trial for table in self.tables for trial in table.trials}.values())

    @property
    def progress(self) -> str:
        done = sum(trial.row is not None for trial in self.trials)
        return f"{done} of {count_text(len(self.trials), 'run')} finished"


def render_study(page: StudyPage) -> str:
    """Render the page as text."""
    script = resource(_PACKAGE, "page.js")
    scaling = next((table for table in page.tables if table.table.scaling and not table.lacking), None)
    drawn = plots(scaling) if scaling else []
    families = order_families(scaling.trials) if scaling else []
    return render_template(
        _PACKAGE,
        {"paper": paper_text, "config": _config_text},
        page=page,
        study=page.study,
        text_of=text_of,
        where=_where(page.tables),
        plots=drawn,
        plot_metrics={plot.metric: METRICS[plot.metric].label for plot in drawn},
        swatches=[{"family": family, "color": color_of(families, family)} for family in families],
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _config_text(trial: TrialOutcome) -> str:
    """The run's configuration, as its run id hashes it."""
    return json.dumps(trial.row.config if trial.row else trial.planned.config, indent=1, sort_keys=True)


def _where(tables: Sequence[FilledTable]) -> dict[str, list[str]]:
    """By run id, the rows in which a run counts."""
    found: dict[str, list[str]] = {}
    for table in tables:
        for row in table.rows:
            for trial in row.trials:
                found.setdefault(trial.planned.run_id, []).append(f"{table.table.source}: {row.row.label}")
    return found
