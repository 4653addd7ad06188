"""Write an evaluation as terminal text and as files: CSV tables, JSON, the ensemble's scores, figures."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict, fields

from rich.console import Console
from rich.table import Table

from genrescale.config.metrics import METRICS, SCORE_METRICS
from genrescale.display.confusion import confusion_png
from genrescale.display.text import csv_bytes
from genrescale.evaluation import ENSEMBLE, Evaluation
from genrescale.evaluation.figures import gap_png, popularity_png
from genrescale.evaluation.reading import family_of
from genrescale.evaluation.scores import best_f1
from genrescale.metrics.bootstrap import Interval
from genrescale.metrics.by_tag import TagRow
from genrescale.metrics.overfitting import select_step
from genrescale.results import write_scores
from genrescale.results.changes import config_differences
from genrescale.storage.store import Store

FOLDER = "evaluations"
TERMINAL_WIDTH = 100  # characters
SHOWN_TAGS = 5  # tags at each end of the printed table
SHOWN_PAIRS = 5
UNDEFINED = "–"  # noqa: RUF001


def run_label(evaluation: Evaluation, name: str) -> str:
    """Describe a run (``waveform, 1,600 songs, seed 0``) or the ensemble."""
    if name == ENSEMBLE:
        return f"ensemble of {len(evaluation.rows)} ({evaluation.vote.replace('_', ' ')} vote)"
    row = next(row for row in evaluation.rows if row.run_id == name)
    return f"{family_of(row)}, {row.size:,} songs, seed {row.seed}"


def tags_csv(evaluation: Evaluation) -> bytes:
    """One line for each tag of the subject; ``train_songs`` if the corpus was given."""
    counts_K = evaluation.tags.train_counts_K
    best_K = best_f1(evaluation.tables[evaluation.subject], evaluation.vocabulary)
    names = [field.name for field in fields(TagRow)]
    rows = [
        [*(getattr(row, name) for name in names), None if counts_K is None else int(counts_K[k]), *best_K[k]]
        for k, row in enumerate(evaluation.tags.rows)
    ]
    return csv_bytes([*names, "train_songs", "best_threshold", "best_f1"], rows)


def metrics_csv(evaluation: Evaluation) -> bytes:
    """One line for each run (and the ensemble) and metric."""
    rows = [
        [name, run_label(evaluation, name), metric, interval.value, interval.low, interval.high, interval.incomplete]
        for name, metrics in evaluation.metrics.items()
        for metric, interval in metrics.items()
    ]
    return csv_bytes(["run_id", "run", "metric", "value", "low", "high", "incomplete_resamples"], rows)


def evaluation_json(evaluation: Evaluation) -> bytes:
    """What the CSV files do not hold.

    That is the paired test, frequency classes, pairs of tags, votes of clips, overfit scores, the steps that each
    selector chooses, and runs that were left out.
    """
    content = {
        "runs": [row.run_id for row in evaluation.rows],
        "left_out": [row.run_id for row in evaluation.left_out],
        "vote": evaluation.vote,
        "threshold": evaluation.threshold,
        "paired_test": {metric: asdict(test) for metric, test in evaluation.tests.items()},
        "frequency_classes": [asdict(item) for item in evaluation.tags.classes],
        "exclusive_pairs": [asdict(pair) for pair in evaluation.tags.pairs],
        "clip_votes": {how: asdict(item) for how, item in evaluation.clip_votes.items()},
        "overfit": {run_id: asdict(item) for run_id, item in evaluation.overfits.items()},
        "selected_steps": {
            run_id: {selector: select_step(curve, selector) for selector in ("val_loss", "gap")}
            for run_id, curve in evaluation.gaps.items()
        },
    }
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode()


def write_evaluation(files: Store, name: str, evaluation: Evaluation) -> list[str]:
    """Write everything to ``evaluations/{name}``; return the paths. Raises ValueError for a name with a slash."""
    if "/" in name or name in ("", ".", ".."):
        raise ValueError(f"name={name!r} must be the name of a folder in {FOLDER}/")
    folder, tags = f"{FOLDER}/{name}", evaluation.tags
    label = run_label(evaluation, evaluation.subject)
    names = evaluation.vocabulary.names
    written = {
        "metrics.csv": metrics_csv(evaluation),
        "tags.csv": tags_csv(evaluation),
        "evaluation.json": evaluation_json(evaluation),
    }
    if tags.confusion_KK is not None:
        right, total = int(tags.confusion_KK.trace()), int(tags.confusion_KK.sum())
        title = f"{right:,} of {total:,} songs right ({100 * right / total:.1f} %)\n{label}"
        written["confusion.png"] = confusion_png(tags.confusion_KK, names, title)
        rows = [[tag, *counts] for tag, counts in zip(names, tags.confusion_KK.tolist(), strict=True)]
        written["confusion.csv"] = csv_bytes(["true \\ predicted", *names], rows)
    if evaluation.vocabulary.classify_K.any():
        written["popularity.png"] = popularity_png(tags.rows, f"Tag by tag: {label}")
    if evaluation.gaps:
        labels = {run_id: run_label(evaluation, run_id) for run_id in evaluation.gaps}
        written["gap.png"] = gap_png(evaluation.gaps, labels)
    for file, data in written.items():
        files.write_bytes(f"{folder}/{file}", data)
    if ENSEMBLE in evaluation.tables:
        write_scores(files, f"{folder}/scores.parquet", evaluation.tables[ENSEMBLE], names)
    return [f"{folder}/{file}" for file in [*written, *(["scores.parquet"] if ENSEMBLE in evaluation.tables else [])]]


def _table(*columns: str) -> Table:
    table = Table()
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left")
    return table


def _number(value: float | None) -> str:
    return UNDEFINED if value is None else f"{value:.4f}"


def _interval(interval: Interval) -> str:
    return f"{interval.value:.4f}\n{interval.low:.4f} to {interval.high:.4f}"


def _metric_tables(evaluation: Evaluation) -> Iterator[tuple[str, Table]]:
    defined = [name for name in SCORE_METRICS if name in evaluation.metrics[evaluation.subject]]
    f1 = "F1" if evaluation.vocabulary.exclusive else f"F1 at {evaluation.threshold:g}"
    groups = {
        f"{len(evaluation.tables[evaluation.subject].keys):,} test songs, means over tags, with 95 % intervals": [
            metric for metric in defined if not metric.startswith("micro_")
        ],
        "Micro: over all (song, tag) pairs": [m for m in defined if m.startswith("micro_")],
    }
    for title, metrics in groups.items():
        headings = [f1 if metric.endswith("f1") else METRICS[metric].label.removeprefix("Micro ") for metric in metrics]
        table = _table("Run", *headings)
        for name, metrics_of_run in evaluation.metrics.items():
            cells = [_interval(metrics_of_run[metric]) if metric in metrics_of_run else UNDEFINED for metric in metrics]
            first, _, second = run_label(evaluation, name).rpartition(", " if name != ENSEMBLE else " (")
            table.add_row(f"{first}\n{second}, {name}" if name != ENSEMBLE else f"{first}\n({second}", *cells)
        if metrics:
            yield title, table


def _test_table(evaluation: Evaluation) -> Table:
    table = _table("Metric", "Difference", "95 % interval", "p")
    for metric, test in evaluation.tests.items():
        least = 1 / (test.resamples + 1)
        p = f"{test.p_value:.3f}" if test.p_value > 1.5 * least else f"{least:.2g} or less"
        table.add_row(METRICS[metric].label, f"{test.difference:+.4f}", f"{test.low:+.4f} to {test.high:+.4f}", p)
    return table


def _tag_table(evaluation: Evaluation) -> tuple[str, Table]:
    scored = sorted((row for row in evaluation.tags.rows if row.pr_auc is not None), key=lambda row: -(row.pr_auc or 0))
    some = len(scored) > 2 * SHOWN_TAGS
    title = f"Tags of the {run_label(evaluation, evaluation.subject)}"
    title += f": the {SHOWN_TAGS} best and worst of {len(scored)} by PR-AUC" if some else ""
    table = _table("Tag", "Songs", "Share", "Mean score", "Predicted", "ROC-AUC", "PR-AUC", "F1")
    for i, row in enumerate(scored):
        if some and SHOWN_TAGS <= i < len(scored) - SHOWN_TAGS:
            continue
        if some and i == len(scored) - SHOWN_TAGS:
            table.add_section()
        shares = [f"{100 * (share or 0):.1f} %" for share in (row.prevalence, row.popularity, row.predicted)]
        table.add_row(row.name, f"{row.support:,}", *shares, *map(_number, (row.roc_auc, row.pr_auc, row.f1)))
    return title, table


def _class_table(evaluation: Evaluation) -> Table:
    table = _table("Class", "Tags", "ROC-AUC", "PR-AUC")
    for tag_class in evaluation.tags.classes:
        table.add_row(tag_class.name, f"{tag_class.num_tags}", _number(tag_class.roc_auc), _number(tag_class.pr_auc))
    return table


def _clip_table(evaluation: Evaluation) -> Table:
    table = _table("Vote", "Songs", "Accuracy", "ROC-AUC", "PR-AUC")
    for how, result in evaluation.clip_votes.items():
        values = map(_number, (result.accuracy, result.roc_auc, result.pr_auc))
        table.add_row(how.replace("_", " "), f"{result.songs:,}", *values)
    return table


def _overfit_table(evaluation: Evaluation) -> Table:
    table = _table("Run", "Training loss", "Validation accuracy", "L / (1 + L)", "(1 - acc) L / (1 + L)")
    for run_id, scores in evaluation.overfits.items():
        values = map(_number, (scores.train_loss, scores.val_accuracy, scores.tabulated, scores.printed))
        table.add_row(run_label(evaluation, run_id), *values)
    return table


def _pair_table(evaluation: Evaluation) -> Table:
    table = _table("Tags", "Songs with both", "By chance", "Predicted both")
    for pair in evaluation.tags.pairs[:SHOWN_PAIRS]:
        counts = f"{pair.together:,}", f"{pair.expected:,.0f}", f"{pair.predicted:,}"
        table.add_row(f"{pair.first} and {pair.second}", *counts)
    return table


def _sections(evaluation: Evaluation) -> Iterator[tuple[str, Table]]:
    """Yield titles and tables, in the order in which they are read."""
    yield from _metric_tables(evaluation)
    if evaluation.tests:
        first, second = (run_label(evaluation, row.run_id) for row in evaluation.rows)
        yield f"Paired test on the same songs: {first}, minus {second}", _test_table(evaluation)
    if any(row.pr_auc is not None for row in evaluation.tags.rows):
        yield _tag_table(evaluation)
    if evaluation.tags.classes:
        yield "Tags by number of training songs: head above 550, tail up to 200", _class_table(evaluation)
    if evaluation.clip_votes:
        yield f"Songs by the votes of their clips: {run_label(evaluation, evaluation.subject)}", _clip_table(evaluation)
    if evaluation.overfits:
        yield (
            "Overfit score at the last validation, as in COMP-520's tables and as in its equation",
            _overfit_table(evaluation),
        )
    if evaluation.tags.pairs:
        yield "Tags that (almost) exclude each other and are predicted together", _pair_table(evaluation)


def format_evaluation(evaluation: Evaluation) -> str:
    """Format the evaluation for a terminal of TERMINAL_WIDTH."""
    sink = io.StringIO()
    console = Console(file=sink, width=TERMINAL_WIDTH, highlight=False, markup=False)
    for title, table in _sections(evaluation):
        console.print(title)
        console.print(table)
    for note in notes(evaluation):
        console.print(f"Note: {note}")
    return sink.getvalue()


def notes(evaluation: Evaluation) -> list[str]:
    """List the limitations of the numbers, as sentences."""
    texts = ["intervals and p-values cover the choice of test songs only, not the seed or the training set"]
    for row in evaluation.left_out:
        changes = ", ".join(config_differences({**evaluation.rows[0].config, "seed": row.seed}, row.config))
        texts.append(f"run {row.run_id} has another recipe and is left out: {changes or 'other data'}")
    if unscored := evaluation.rows[0].unscored_tags:
        names = ", ".join(unscored[:5]) + (" ..." if len(unscored) > 5 else "")
        texts.append(f"{len(unscored)} tags are left out of the means, because no or every test song has them: {names}")
    incomplete = max((v.incomplete for v in evaluation.metrics[evaluation.subject].values()), default=0)
    if incomplete:
        resamples = next(iter(evaluation.metrics[evaluation.subject].values())).resamples
        texts.append(f"{incomplete} of {resamples} resamples lack a rare tag; their means are over the other tags")
    if len({row.size for row in evaluation.rows}) > 1:
        texts.append("the runs were trained on different numbers of songs")
    return texts
