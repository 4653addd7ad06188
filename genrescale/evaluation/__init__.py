"""Evaluate finished runs: metrics with intervals, ensembles, a paired test of two runs, results by tag, and figures.

``build_evaluation`` only reads; ``write_evaluation`` writes its files to ``evaluations/{name}`` in the sweep's folder.
The same runs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genrescale.audio import Vocabulary
from genrescale.data.manifest import Manifest
from genrescale.evaluation.ensemble import combine_runs, read_runs, same_songs
from genrescale.evaluation.reading import check_row, chosen_rows, find_vocabulary, train_counts
from genrescale.evaluation.scores import ClipVote, clip_votes, compare, intervals
from genrescale.metrics.bootstrap import RESAMPLES, Interval, PairedTest
from genrescale.metrics.by_tag import (
    ClassScore,
    ExclusivePair,
    TagRow,
    class_scores,
    confusion_matrix,
    exclusive_pairs,
    frequency_classes,
    prevalence_thresholds,
    tag_rows,
)
from genrescale.metrics.overfitting import GapCurve, Overfit, gap_curve, overfit
from genrescale.results import ResultRow, ScoreTable, read_curve
from genrescale.storage.store import Store
from genrescale.telemetry.progress import counted

ENSEMBLE = "ensemble"


@dataclass(frozen=True, eq=False)
class ByTag:
    """Results by tag. ``confusion_KK`` is for exclusive tags, ``pairs`` for others.

    ``classes`` and ``train_counts_K`` need the corpus.
    """

    rows: list[TagRow]
    train_counts_K: np.ndarray | None
    classes: list[ClassScore]
    confusion_KK: np.ndarray | None
    pairs: list[ExclusivePair]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that is printed and written. ``tables`` and ``metrics`` are keyed by run id and ENSEMBLE.

    ``left_out`` are runs of the family that differ by more than the seed. ``subject`` is the run (or, with several
    runs, the ensemble) whose tags are analysed. ``tests`` compare the first run with the second if there are exactly
    two. ``overfits`` covers the runs whose curves have a training loss. ``clip_votes`` is by voting method, if clips
    were requested.
    """

    uri: str
    rows: list[ResultRow]
    left_out: list[ResultRow]
    vocabulary: Vocabulary
    vote: str
    threshold: float
    tables: dict[str, ScoreTable]
    metrics: dict[str, dict[str, Interval]]
    tests: dict[str, PairedTest]
    subject: str
    tags: ByTag
    gaps: dict[str, GapCurve]
    overfits: dict[str, Overfit]
    clip_votes: dict[str, ClipVote]


def by_tag(table: ScoreTable, vocabulary: Vocabulary, threshold: float, train_counts_K: np.ndarray | None) -> ByTag:
    """Compute the results by tag. Frequency classes and pairs use classify tags only.

    For the pairs, each tag is predicted for as many songs as have it, which removes the model's bias towards popular
    tags; the table of tags shows that bias.
    """
    mask_K = vocabulary.classify_K
    true_NK, score_NK = table.true_NK[:, mask_K], table.score_NK[:, mask_K]
    names = [tag.name for tag in vocabulary.tags if tag.kind == "classify"]
    classes, pairs = [], []
    if names and train_counts_K is not None:
        classes = class_scores(true_NK, score_NK, frequency_classes(train_counts_K[mask_K]))
    if names and not vocabulary.exclusive:
        pairs = exclusive_pairs(true_NK, score_NK >= prevalence_thresholds(true_NK, score_NK), names)
    return ByTag(
        rows=tag_rows(table.true_NK, table.score_NK, vocabulary, threshold),
        train_counts_K=train_counts_K,
        classes=classes,
        confusion_KK=confusion_matrix(true_NK, score_NK) if vocabulary.exclusive else None,
        pairs=pairs,
    )


def read_gaps(files: Store, run_ids: Sequence[str]) -> dict[str, GapCurve]:
    """Read the loss curves of the runs that have any, without validations at which one of the losses is missing."""
    gaps = {}
    for run_id in run_ids:
        if (table := read_curve(files, run_id)) is None:
            continue
        lines = zip(*(table[name].to_pylist() for name in ("step", "train_loss", "val_loss")), strict=True)
        if known := [line for line in lines if None not in line]:
            step, train_loss, val_loss = zip(*known, strict=True)
            gaps[run_id] = gap_curve(step, train_loss, val_loss)
    return gaps


def read_overfits(files: Store, run_ids: Sequence[str]) -> dict[str, Overfit]:
    """Compute the overfit scores of the runs that have any, at the last validation with a training loss."""
    overfits = {}
    for run_id in run_ids:
        lines = [] if (table := read_curve(files, run_id)) is None else table.to_pylist()
        if known := [line for line in lines if line["train_loss"] is not None]:
            overfits[run_id] = overfit(known[-1]["train_loss"], known[-1].get("val_accuracy"))
    return overfits


def build_evaluation(
    files: Store,
    run_ids: Sequence[str] = (),
    family: str = "",
    size: int = 0,
    manifest: Manifest | None = None,
    vote: str = "soft",
    threshold: float = 0.5,
    seed: int = 0,
    resamples: int = RESAMPLES,
    clips: bool = False,
) -> Evaluation:
    """Evaluate finished runs in ``files``: those in ``run_ids``, or those of a family at one size.

    ``manifest`` gives the kinds of the tags and the number of training songs of each. With ``clips``, its songs are
    clips, and their artist is the song they belong to. Raises ValueError if the runs cannot be compared (different
    songs, tags or labels), and as ``chosen_rows`` and ``find_vocabulary`` do.
    """
    if clips and manifest is None:
        raise ValueError("clips=true needs corpus=..., whose column artist names the song that a clip belongs to")
    rows, left_out = chosen_rows(files, run_ids, family, size)
    read = read_runs(files, [row.run_id for row in rows])
    tables, names = same_songs(read), next(iter(read.values()))[1]
    vocabulary = find_vocabulary(names, tables[rows[0].run_id], rows[0], manifest)
    for row in rows[1:]:
        check_row(tables[row.run_id], row, vocabulary)
    first, second = (tables[row.run_id] for row in (rows[0], rows[-1]))
    if len(rows) > 1:
        tables[ENSEMBLE] = combine_runs(read, vocabulary, vote)
    subject = ENSEMBLE if len(rows) > 1 else rows[0].run_id
    counts_K = None if manifest is None else train_counts(manifest, max(row.size for row in rows))
    settings = (vocabulary, threshold, seed, resamples)
    return Evaluation(
        uri=files.uri,
        rows=rows,
        left_out=left_out,
        vocabulary=vocabulary,
        vote=vote,
        threshold=threshold,
        tables=tables,
        metrics={name: intervals(table, *settings) for name, table in counted("evaluate", tables.items(), "tables")},
        tests=compare(first, second, *settings) if len(rows) == 2 else {},
        subject=subject,
        tags=by_tag(tables[subject], vocabulary, threshold, counts_K),
        gaps=read_gaps(files, [row.run_id for row in rows]),
        overfits=read_overfits(files, [row.run_id for row in rows]),
        clip_votes=clip_votes(tables[subject], manifest, vocabulary) if clips and manifest is not None else {},
    )
