"""What studies there are, what each needs, and the runs of one before it starts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from genrescale.audio import SAMPLE_BYTES, SAMPLE_RATE
from genrescale.config import SiteConfig
from genrescale.config.study import ScaleConfig
from genrescale.launch.capacity import Node
from genrescale.launch.listing import format_trials
from genrescale.models import changed_dials
from genrescale.studies.corpora import StudyCorpora
from genrescale.studies.plan import StudyPlan
from genrescale.studies.study import CorpusNeed, Study, StudyRun, StudyTable

_WIDTH = 150


def format_studies(studies: Sequence[tuple[Study, Mapping[str, ScaleConfig]]]) -> str:
    """Every study in some lines: its question, tables, corpora with their size on disk, and what its scales take."""
    return "\n\n".join("\n".join(_about(study, scales)) for study, scales in studies)


def _about(study: Study, scales: Mapping[str, ScaleConfig]) -> list[str]:
    lines = [f"{study.key}: {study.title}", f"  {study.paper}", f"  {study.question}"]
    lines += [f"  {table.key}: {table.title} ({table.source}, {len(table.runs)} runs)" for table in study.tables]
    lines += [f"  corpora.{corpus.key}: {corpus.title}; {disk_text(corpus)}" for corpus in study.corpora]
    return lines + [f"  scale={name}: {scale.takes}" for name, scale in scales.items()]


def disk_text(corpus: CorpusNeed) -> str:
    """The size of a corpus's shards."""
    return f"about {corpus.hours * 3600 * SAMPLE_RATE * SAMPLE_BYTES / 1e9:,.0f} GB of shards"


def format_runs(tables: Sequence[StudyTable], plan: StudyPlan | None = None) -> str:
    """Every row of some tables with its runs, before they start; with a ``plan``, by their ids."""
    sink = io.StringIO()
    console = Console(file=sink, width=_WIDTH, highlight=False, markup=False)
    for found in tables:
        table = Table(title=f"{found.key}: {found.title} ({len(found.runs)} runs)", title_justify="left")
        for name in ("row", "model", "dials", "songs", "crop s", "seeds", "starts from", "runs"):
            table.add_column(name, justify="right" if name in ("songs", "crop s") else "left")
        for row in found.rows:
            if row.runs:
                table.add_row(row.label, *_cells(row.runs, plan))
            else:
                table.add_row(row.label, row.baseline or "the paper's number only")
        console.print(table)
    return sink.getvalue()


def _cells(runs: Sequence[StudyRun], plan: StudyPlan | None) -> list[str]:
    run = runs[0]
    dials = changed_dials(run.run.model.name, run.run.model.dials)
    parent = run.parent.run.model.name if run.parent else ""
    seeds = ", ".join(str(run.run.seed) for run in runs)
    size = f"{run.size:,}" if run.size else "all"
    ids = ", ".join(plan.trials[run].run_id[:8] for run in runs) if plan else ""
    return [run.run.model.name, dials, size, f"{run.run.data.crop_s:.3g}", seeds, parent, ids]


def dry_run(corpora: StudyCorpora, only: Sequence[str], site: SiteConfig, nodes: Sequence[Node]) -> str:
    """The runs of a study, chains in their order, and what they cost, as far as that can be told before it starts.

    Raises ValueError as ``StudyPlan.tables`` does.
    """
    if corpora.to_make:
        tables = corpora.study.chosen(only)
        later = f"{corpora.scale.synthesis} would be synthesised and sharded into {corpora.files.uri} first"
        return f"{format_runs(tables)}{later}. It takes {corpora.scale.takes}."
    plan = corpora.plan(site)
    tables = plan.tables(only)
    trials = plan.of_tables(tables)
    return f"{format_runs(tables, plan)}{format_trials(trials, site, nodes)}"
