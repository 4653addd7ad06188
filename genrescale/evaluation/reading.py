"""Which finished runs to evaluate, and what their tags are: result rows, score tables and, if given, the corpus."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np

from genrescale.audio import Tag, Vocabulary
from genrescale.config.metrics import ROW_METRICS
from genrescale.data.manifest import Manifest
from genrescale.metrics import score
from genrescale.results import PLANNED_PATH, ResultRow, ScoreTable, read_planned, read_results
from genrescale.storage.store import Store

_SAME = 1e-6  # scores are stored as float64; a metric differs by its order of summation at most


def family_of(row: ResultRow) -> str:
    return row.model if row.labels == "true" else f"{row.model} ({row.labels} labels)"


def chosen_rows(
    files: Store, run_ids: Sequence[str], family: str, size: int
) -> tuple[list[ResultRow], list[ResultRow]]:
    """The rows of the named runs (the beginning of an id is enough), or of a family at one size (0: its largest).

    Of a family those that differ by their seed alone (``_main_recipe``); the second list are the others, left out.
    Raises ValueError, saying what there is, where a name fits no finished run or several, where none of a family's
    recipes is the main one, and for a run of a pretext task, which has no scores of tags.
    """
    finished = read_results(files)
    rows = {run_id: row for run_id, row in finished.items() if not row.pretext}
    if not rows:
        if finished:
            raise ValueError(f"{files.uri} has no run with tags: {', '.join(finished)} pretrained without them")
        raise ValueError(f"{files.uri} has no finished run; give the folder of a sweep or a run, where runs/ lies")
    if bool(run_ids) == bool(family):
        families = sorted({f"{family_of(row)} ({row.size})" for row in rows.values()})
        raise ValueError(f"give either runs=[ID,...] or family=NAME; finished are {', '.join(families)}")
    if family:
        found = [row for row in rows.values() if family_of(row) == family]
        wanted = size or max((row.size for row in found), default=0)
        if found := [row for row in found if row.size == wanted]:
            chosen = _main_recipe(files, found)
            return chosen, [row for row in found if row not in chosen]
        there = sorted({f"{family_of(row)} ({row.size})" for row in rows.values()})
        raise ValueError(f"no run of family {family!r} with size {size or 'any'} is finished; there are {there}")
    chosen = {}
    for name in run_ids:
        fitting = [run_id for run_id in rows if run_id.startswith(name)]
        if len(fitting) != 1:
            if pretext := [run_id for run_id in finished if run_id.startswith(name) and not fitting]:
                raise ValueError(f"run {pretext[0]} pretrained without tags; evaluate the runs that started from it")
            what = f"fits {', '.join(sorted(fitting))}" if fitting else f"is none of {', '.join(sorted(rows))}"
            raise ValueError(f"run {name!r} {what}")
        chosen[fitting[0]] = rows[fitting[0]]
    return list(chosen.values()), []


def _main_recipe(files: Store, found: Sequence[ResultRow]) -> list[ResultRow]:
    """Of one family's runs at one size, those of one config and one data but for the seed, by seed.

    It is the recipe of the sweep's grid, without a sweep's plan the one with the most runs.
    """
    recipes: dict[str, list[ResultRow]] = {}
    for row in sorted(found, key=lambda row: (row.seed, row.run_id)):
        recipe = json.dumps([{**row.config, "seed": None}, row.data_digest], sort_keys=True)
        recipes.setdefault(recipe, []).append(row)
    planned = read_planned(files) if files.exists(PLANNED_PATH) else []
    grid = {trial.run_id for trial in planned if trial.axis == "grid"}
    main = [rows for rows in recipes.values() if grid & {row.run_id for row in rows}]
    if not main:
        most = max(len(rows) for rows in recipes.values())
        main = [rows for rows in recipes.values() if len(rows) == most]
    if len(main) > 1:
        groups = "; ".join(", ".join(row.run_id for row in rows) for rows in recipes.values())
        raise ValueError(f"these runs differ by more than their seeds, name those of one recipe by runs=: {groups}")
    return main[0]


def find_vocabulary(names: Sequence[str], table: ScoreTable, row: ResultRow, manifest: Manifest | None) -> Vocabulary:
    """The corpus' vocabulary, or what the table shows: a tag with a label between 0 and 1 is a regress tag.

    Raises ValueError where the corpus has other tags, and where the row's metrics do not follow from the table with
    that vocabulary: a regress tag may by chance have labels 0 and 1 alone, then the corpus has to be given.
    """
    if manifest is not None:
        vocabulary = manifest.vocabulary
        if vocabulary.names != list(names):
            raise ValueError(f"{manifest.uri} has other tags than run {row.run_id}: {vocabulary.names[:5]}...")
    else:
        graded_K = ((table.true_NK != 0) & (table.true_NK != 1)).any(axis=0).tolist()
        tags = [Tag(name, "regress" if graded else "classify") for name, graded in zip(names, graded_K, strict=True)]
        vocabulary = Vocabulary(tuple(tags), exclusive=row.accuracy is not None)
    check_row(table, row, vocabulary)
    return vocabulary


def check_row(table: ScoreTable, row: ResultRow, vocabulary: Vocabulary) -> None:
    """Raises ValueError where a row's metrics are not those of its score table."""
    values = score(table.true_NK, table.score_NK, vocabulary)
    for name in ROW_METRICS:
        wrote, found = getattr(row, name), values[name]
        if (wrote is None) != (found is None) or (found is not None and not math.isclose(wrote, found, abs_tol=_SAME)):
            raise ValueError(
                f"run {row.run_id}: {name} of its score table is {found}, its result row says {wrote}; give corpus=... "
                f"if the kinds of its tags cannot be seen in the labels, else the files are not of one run"
            )


def train_counts(manifest: Manifest, size: int) -> np.ndarray:
    """How many of the first ``size`` training songs have each tag (K,)."""
    return manifest.labels_NK[manifest.select("train", size)].sum(axis=0)
