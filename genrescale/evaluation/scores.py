"""Every metric of a score table with its interval, and the paired test of two: which metrics, of which of its tags."""

from __future__ import annotations

import numpy as np

from genrescale.audio import Vocabulary
from genrescale.confidence import Interval, PairedTest, bootstrap_interval, paired_test
from genrescale.results import ScoreTable
from genrescale.tag_tables import decisions

# In the order of the tables. What a vocabulary does not define is left out.
LABELS = {
    "accuracy": "Accuracy",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "f1": "F1",
    "rmse": "RMSE",
    "micro_roc_auc": "Micro ROC-AUC",
    "micro_pr_auc": "Micro PR-AUC",
    "micro_f1": "Micro F1",
}


def _columns(metric: str, vocabulary: Vocabulary, score_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Which tags (K,) a metric is of, and the scores that it takes; None where the vocabulary does not define it.

    Where tags exclude each other a song's prediction is its highest tag, so F1 takes that and needs no threshold, and
    micro F1 would be the accuracy again.
    """
    if metric == "rmse":
        return (vocabulary.regress_K, score_NK) if vocabulary.regress_K.any() else None
    if metric == "accuracy":
        return (vocabulary.classify_K, score_NK) if vocabulary.exclusive else None
    if not vocabulary.classify_K.any() or (metric == "micro_f1" and vocabulary.exclusive):
        return None
    if metric == "f1" and vocabulary.exclusive:
        return vocabulary.classify_K, decisions(score_NK, vocabulary).astype(float)
    return vocabulary.classify_K, score_NK


def intervals(
    table: ScoreTable, vocabulary: Vocabulary, threshold: float, seed: int, resamples: int
) -> dict[str, Interval]:
    """Every metric that the vocabulary and the songs define, with its bootstrap interval."""
    found = {}
    for metric in LABELS:
        if (columns := _columns(metric, vocabulary, table.score_NK)) is None:
            continue
        mask_K, score_NK = columns
        arrays = table.true_NK[:, mask_K], score_NK[:, mask_K]
        interval = bootstrap_interval(metric, *arrays, seed=seed, resamples=resamples, threshold=threshold)
        if interval is not None:
            found[metric] = interval
    return found


def compare(
    a: ScoreTable, b: ScoreTable, vocabulary: Vocabulary, threshold: float, seed: int, resamples: int
) -> dict[str, PairedTest]:
    """The paired test of two runs (a - b) for every metric that is a mean over tags or songs."""
    found = {}
    for metric in [name for name in LABELS if not name.startswith("micro_")]:
        columns = [_columns(metric, vocabulary, table.score_NK) for table in (a, b)]
        if columns[0] is None or columns[1] is None:
            continue
        mask_K = columns[0][0]
        scores = [score_NK[:, mask_K] for _, score_NK in (columns[0], columns[1])]
        test = paired_test(metric, a.true_NK[:, mask_K], *scores, seed=seed, resamples=resamples, threshold=threshold)
        if test is not None:
            found[metric] = test
    return found
