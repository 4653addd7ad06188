"""Select the finished runs to evaluate, and find the vocabulary of their tags."""

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

_SAME = 1e-6  # scores are stored as float64, so metrics differ at most by the order of summation


def family_of(row: ResultRow) -> str:
    return row.model if row.labels == "true" else f"{row.model} ({row.labels} labels)"


def chosen_rows(
    files: Store, run_ids: Sequence[str], family: str, size: int
) -> tuple[list[ResultRow], list[ResultRow]]:
    """Return the rows of the named runs (a prefix of an id is enough), or of a family at one size (0: its largest).

    Of a family, the runs that differ only in the seed are chosen (``_main_recipe``); the second list holds the others.
    Raises ValueError, listing the choices, if a name matches no finished run or several, if no recipe of a family is
    the main one, and for a pretraining run, which has no scores of tags.
    """
    finished = read_results(files)
    rows = {run_id: row for run_id, row in finished.items() if not row.pretext}
    if not rows:
        if finished:
            raise ValueError(f"{files.uri} has no run with tags: {', '.join(finished)} pretrained without them")
        raise ValueError(f"{files.uri} has no finished run; give the folder of a sweep or a run, which contains runs/")
    if bool(run_ids) == bool(family):
        families = sorted({f"{family_of(row)} ({row.size})" for row in rows.values()})
        raise ValueError(f"give either runs=[ID,...] or family=NAME; finished runs: {', '.join(families)}")
    if family:
        of_family = [row for row in rows.values() if family_of(row) == family]
        wanted = size or max((row.size for row in of_family), default=0)
        if of_family := [row for row in of_family if row.size == wanted]:
            chosen = _main_recipe(files, of_family)
            return chosen, [row for row in of_family if row not in chosen]
        available = sorted({f"{family_of(row)} ({row.size})" for row in rows.values()})
        raise ValueError(f"no run of family {family!r} with size {size or 'any'} is finished; finished are {available}")
    chosen = {}
    for name in run_ids:
        fitting = [run_id for run_id in rows if run_id.startswith(name)]
        if len(fitting) != 1:
            if pretext := [run_id for run_id in finished if run_id.startswith(name) and not fitting]:
                raise ValueError(f"run {pretext[0]} pretrained without tags; evaluate the runs that started from it")
            what = f"matches {', '.join(sorted(fitting))}" if fitting else f"is none of {', '.join(sorted(rows))}"
            raise ValueError(f"run {name!r} {what}")
        chosen[fitting[0]] = rows[fitting[0]]
    return list(chosen.values()), []


def _main_recipe(files: Store, candidates: Sequence[ResultRow]) -> list[ResultRow]:
    """Return the runs of the main recipe, by seed: runs with the same config but for the seed, and the same data.

    ``candidates`` are the runs of one family at one size. The main recipe is that of the sweep's grid; without a
    sweep's plan, the one with the most runs.
    """
    recipes: dict[str, list[ResultRow]] = {}
    for row in sorted(candidates, key=lambda row: (row.seed, row.run_id)):
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
        raise ValueError(f"these runs differ by more than their seeds; name those of one recipe with runs=: {groups}")
    return main[0]


def find_vocabulary(names: Sequence[str], table: ScoreTable, row: ResultRow, manifest: Manifest | None) -> Vocabulary:
    """Return the corpus's vocabulary, or infer it from a score table: a label between 0 and 1 means a regress tag.

    Raises ValueError if the corpus has other tags, and if the row's metrics do not follow from the table with this
    vocabulary. The latter happens if a regress tag has only labels 0 and 1 by chance; then give the corpus.
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
    """Raise ValueError if a row's metrics do not match its score table."""
    values = score(table.true_NK, table.score_NK, vocabulary)
    for name in ROW_METRICS:
        stored, computed = getattr(row, name), values[name]
        if stored is None or computed is None:
            same = stored is computed
        else:
            same = math.isclose(stored, computed, abs_tol=_SAME)
        if not same:
            raise ValueError(
                f"run {row.run_id}: {name} is {computed} by its score table, {stored} in its result row; if the labels "
                f"do not show the kinds of the tags, give corpus=..., else the files belong to different runs"
            )


def train_counts(manifest: Manifest, size: int) -> np.ndarray:
    """Count the songs with each tag (K,) among the first ``size`` training songs."""
    return manifest.labels_NK[manifest.select("train", size)].sum(axis=0)
