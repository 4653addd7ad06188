"""What a study is: tables whose rows are runs, beside the numbers that a paper printed for them.

A study is data: the functions of ``genrescale.studies.plan`` make runs of it, those of ``genrescale.studies.filled``
fill its tables with what the runs scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from genrescale.config import RunConfig

Scoring = Literal["windows", "whole"]


@dataclass(frozen=True)
class CorpusNeed:
    """A corpus that tables of a study need: which files these are, and the command that shards them.

    ``songs`` is the number of training songs at the paper's scale, ``hours`` the length of all audio.
    """

    key: str
    title: str
    files: str
    command: str
    songs: int
    hours: float


@dataclass(frozen=True, eq=False)
class StudyRun:
    """A run of a study. Two rows that share a run hold the same object.

    ``size`` 0 stands for all training songs of the corpus. ``normalised_on`` is the number of training songs that give
    the log-mel normalisation (0: ``size``). A run with a ``parent`` starts from its weights; ``take`` says which
    (``genrescale.config.InitConfig``).
    """

    corpus: str
    run: RunConfig
    size: int = 0
    normalised_on: int = 0
    parent: StudyRun | None = None
    take: str = "new_head"

    @property
    def depth(self) -> int:
        """How many runs must finish before this one can start."""
        return 0 if self.parent is None else self.parent.depth + 1


@dataclass(frozen=True, eq=False)
class Row:
    """A row of a table: its runs, which differ by the seed, and what the paper prints for it.

    ``paper`` is by metric, in the units of our metrics (PR-AUC 0.5427, not 54.27 %); ``paper_params`` is the number of
    parameters as printed. A row without runs is a system that we do not train. ``scoring`` ``whole`` gives each test
    song to the trained model as one input, instead of averaging windows. ``baseline`` names a model of
    ``genrescale.baselines`` (FLOOR or TREES of ``results.baseline``) in place of runs.
    """

    label: str
    runs: tuple[StudyRun, ...] = ()
    paper: Mapping[str, float] = field(default_factory=dict)
    paper_params: str = ""
    scoring: Scoring = "windows"
    baseline: str = ""
    note: str = ""


@dataclass(frozen=True, eq=False)
class Group:
    """Rows of a table under a heading."""

    heading: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, eq=False)
class StudyTable:
    """A table of a study. ``corpus`` is the one that its rows are trained and scored on.

    ``scaling`` marks the table whose runs are the points of the study's scaling analysis.
    """

    key: str
    title: str
    source: str
    corpus: str
    metrics: tuple[str, ...]
    groups: tuple[Group, ...]
    text: str = ""
    scaling: bool = False

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for group in self.groups for row in group.rows)

    @property
    def baselines(self) -> set[str]:
        """The names of the baselines that the table has."""
        return {row.baseline for row in self.rows if row.baseline}

    @property
    def runs(self) -> list[StudyRun]:
        """Every run of the table once, with the runs that it starts from before it."""
        found: dict[StudyRun, None] = {}
        for run in (run for row in self.rows for run in row.runs):
            found |= dict.fromkeys(reversed(list(_ancestry(run))))
        return list(found)


def _ancestry(run: StudyRun | None) -> Iterator[StudyRun]:
    while run is not None:
        yield run
        run = run.parent


@dataclass(frozen=True, eq=False)
class Study:
    """A paper's system as tables. ``readings`` say where paper and code disagree, and which of them the rows follow."""

    key: str
    title: str
    paper: str
    question: str
    corpora: tuple[CorpusNeed, ...]
    tables: tuple[StudyTable, ...]
    readings: tuple[str, ...] = ()

    def corpus(self, key: str) -> CorpusNeed:
        return next(corpus for corpus in self.corpora if corpus.key == key)

    def table(self, key: str) -> StudyTable:
        return next(table for table in self.tables if table.key == key)

    def chosen(self, only: Sequence[str]) -> list[StudyTable]:
        """The tables of these keys, or all. Raises ValueError for a key that is no table."""
        keys = [table.key for table in self.tables]
        if unknown := [key for key in only if key not in keys]:
            raise ValueError(f"only={unknown} is none of the tables of {self.key}: {', '.join(keys)}")
        return [table for table in self.tables if not only or table.key in only]

    @property
    def runs(self) -> list[StudyRun]:
        """Every run once, with the runs that it starts from before it."""
        return list({run: None for table in self.tables for run in table.runs})
