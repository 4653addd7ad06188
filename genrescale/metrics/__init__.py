"""Metrics over whole arrays of songs and tags. Gather all songs before scoring; do not average over batches or workers.

Conventions: N songs, K tags. ``y_true_NK`` holds 0 or 1 for classify tags and values in [0, 1] for regress tags.
``y_score_NK`` holds finite scores; a higher score means the tag is more likely. A macro mean is over the tags that have
at least one positive and one negative song (``scorable_tags``). A micro metric pools all N x K (song, tag) pairs. A
metric that cannot be computed is None, never 0.0. A ``threshold`` is one number, or one for each tag (K,); a tag is
predicted if its score is at least the threshold. All functions raise ValueError for arrays that are empty, differ in
shape, or hold NaN or infinity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from genrescale.audio import Vocabulary
from genrescale.config.metrics import ROW_METRICS


def validate(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert both arrays to float64 (N, K). Raises ValueError for the first problem found."""
    true_NK, score_NK = _as_matrix("y_true_NK", y_true_NK), _as_matrix("y_score_NK", y_score_NK)
    if true_NK.shape != score_NK.shape:
        raise ValueError(f"y_true_NK {true_NK.shape} and y_score_NK {score_NK.shape} differ in shape")
    return true_NK, score_NK


def _as_matrix(name: str, values: np.ndarray) -> np.ndarray:
    try:
        matrix_NK = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not an array of numbers (N songs, K tags): {error}") from error
    if matrix_NK.ndim != 2 or 0 in matrix_NK.shape:
        raise ValueError(f"{name} has shape {matrix_NK.shape}; expected (N songs, K tags), neither of them 0")
    bad_NK = ~np.isfinite(matrix_NK)
    if bad_NK.any():
        song, tag = np.argwhere(bad_NK)[0]
        raise ValueError(
            f"{name} has {int(bad_NK.sum())} values that are not finite, the first at song {song}, tag {tag}"
        )
    return matrix_NK


def check_binary(true_NK: np.ndarray) -> None:
    """Raise ValueError, naming the first song and tag, for a label that is neither 0 nor 1."""
    other_NK = ~np.isin(true_NK, (0.0, 1.0))
    if other_NK.any():
        song, tag = np.argwhere(other_NK)[0]
        raise ValueError(f"y_true_NK must hold 0 or 1; song {song}, tag {tag} has {true_NK[song, tag]}")


def scorable_tags(y_true_NK: np.ndarray) -> np.ndarray:
    """Return a boolean (K,): whether a tag has at least one positive and one negative song."""
    true_NK = _as_matrix("y_true_NK", y_true_NK)
    check_binary(true_NK)
    return (true_NK == 1).any(axis=0) & (true_NK == 0).any(axis=0)


def _mean(value_K: np.ndarray) -> float | None:
    known_K = value_K[~np.isnan(value_K)]
    return float(known_K.mean()) if len(known_K) else None


def _by_tag(curve_area: Callable[..., Any], y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> np.ndarray:
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    value_K = np.full(true_NK.shape[1], np.nan)
    for k in np.flatnonzero(scorable_tags(true_NK)):
        value_K[k] = curve_area(true_NK[:, k], score_NK[:, k])
    return value_K


def roc_auc_by_tag(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each tag (K,); NaN for a tag without both classes."""
    from sklearn.metrics import roc_auc_score  # imported here: it takes most of a second in every process

    return _by_tag(roc_auc_score, y_true_NK, y_score_NK)


def pr_auc_by_tag(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> np.ndarray:
    """Average precision (step-wise sum, not trapezoids) of each tag (K,); NaN for a tag without both classes."""
    from sklearn.metrics import average_precision_score

    return _by_tag(average_precision_score, y_true_NK, y_score_NK)


def macro_roc_auc(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> float | None:
    """Area under the ROC curve, mean over scorable tags; None if there are none. Chance is 0.5."""
    return _mean(roc_auc_by_tag(y_true_NK, y_score_NK))


def macro_pr_auc(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> float | None:
    """Average precision (step-wise sum, not trapezoids), mean over scorable tags; None if there are none.

    Chance level for a tag is its share of positive songs.
    """
    return _mean(pr_auc_by_tag(y_true_NK, y_score_NK))


def micro_roc_auc(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> float | None:
    """Area under the ROC curve over all (song, tag) pairs; None unless both classes occur."""
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    return macro_roc_auc(true_NK.reshape(-1, 1), score_NK.reshape(-1, 1))


def micro_pr_auc(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> float | None:
    """Average precision over all (song, tag) pairs; None unless both classes occur."""
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    return macro_pr_auc(true_NK.reshape(-1, 1), score_NK.reshape(-1, 1))


def predicted(score_NK: np.ndarray, threshold: float | np.ndarray) -> np.ndarray:
    """Return a boolean (N, K): whether a score is at least the threshold. Raises ValueError for a bad threshold."""
    threshold_K = np.asarray(threshold, dtype=np.float64)
    if threshold_K.shape not in ((), score_NK.shape[1:]) or np.isnan(threshold_K).any():
        raise ValueError(
            f"threshold must be one number or one for each of the {score_NK.shape[1]} tags, none of them NaN; "
            f"got shape {threshold_K.shape}"
        )
    return score_NK >= threshold_K


def f1_by_tag(y_true_NK: np.ndarray, y_score_NK: np.ndarray, threshold: float | np.ndarray = 0.5) -> np.ndarray:
    """F1 of each tag (K,): 0 without true positives, NaN for a tag without both classes."""
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    scorable_K, predicted_NK = scorable_tags(true_NK), predicted(score_NK, threshold)
    hits_K = (predicted_NK * true_NK).sum(axis=0)
    value_K = np.full(true_NK.shape[1], np.nan)
    return np.divide(2 * hits_K, predicted_NK.sum(axis=0) + true_NK.sum(axis=0), out=value_K, where=scorable_K)


def macro_f1(y_true_NK: np.ndarray, y_score_NK: np.ndarray, threshold: float | np.ndarray = 0.5) -> float | None:
    """F1 at a threshold, mean over scorable tags; None if there are none."""
    return _mean(f1_by_tag(y_true_NK, y_score_NK, threshold))


def micro_f1(y_true_NK: np.ndarray, y_score_NK: np.ndarray, threshold: float | np.ndarray = 0.5) -> float | None:
    """F1 at a threshold over all (song, tag) pairs; None unless both classes occur."""
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    return macro_f1(true_NK.reshape(-1, 1), predicted(score_NK, threshold).reshape(-1, 1))


def best_thresholds(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> np.ndarray:
    """Find the threshold of each tag (K,) with the highest F1 on these songs. Use validation songs.

    A threshold is one of the tag's scores; of equally good ones, the highest. For a tag without songs it is infinity
    (never predicted). Source: MediaEval's baseline, which takes the best point of each tag's precision-recall curve.
    """
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    check_binary(true_NK)
    order_NK = np.argsort(-score_NK, axis=0, kind="stable")
    falling_NK = np.take_along_axis(score_NK, order_NK, axis=0)
    hits_NK = np.take_along_axis(true_NK, order_NK, axis=0).cumsum(axis=0)
    f1_NK = 2 * hits_NK / (np.arange(1, len(true_NK) + 1)[:, None] + true_NK.sum(axis=0))
    f1_NK[:-1][falling_NK[:-1] == falling_NK[1:]] = -1  # songs with equal scores are predicted together
    best_K = f1_NK.argmax(axis=0)
    return np.where(true_NK.any(axis=0), falling_NK[best_K, np.arange(len(best_K))], np.inf)


def rmse(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> float:
    """Root mean squared error over all songs and tags (Pons 2018, table 1, "sqrt MSE")."""
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    return float(np.sqrt(np.mean((true_NK - score_NK) ** 2)))


def accuracy(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> float:
    """Share of songs whose highest score is at their one tag. Of equal scores, the first tag counts.

    Raises ValueError for a song without exactly one tag.
    """
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    check_binary(true_NK)
    counts_N = true_NK.sum(axis=1)
    if (counts_N != 1).any():
        song = int(np.argmax(counts_N != 1))
        raise ValueError(f"accuracy needs exactly one tag per song; song {song} has {int(counts_N[song])}")
    return float(np.mean(true_NK.argmax(axis=1) == score_NK.argmax(axis=1)))


def score(y_true_NK: np.ndarray, y_score_NK: np.ndarray, vocabulary: Vocabulary) -> dict[str, Any]:
    """Compute every metric that the vocabulary defines: ``roc_auc``, ``pr_auc``, ``rmse``, ``accuracy``.

    AUCs are over classify tags, RMSE over regress tags; accuracy needs an exclusive vocabulary. Metrics that do not
    apply are None. ``unscored_tags`` lists the classify tags left out of the means.
    """
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    if true_NK.shape[1] != len(vocabulary):
        raise ValueError(f"arrays have {true_NK.shape[1]} tags, the vocabulary has {len(vocabulary)}")
    classify_K, regress_K = vocabulary.classify_K, vocabulary.regress_K
    values: dict[str, Any] = {**dict.fromkeys(ROW_METRICS), "unscored_tags": []}
    if classify_K.any():
        binary_NC, ranked_NC = true_NK[:, classify_K], score_NK[:, classify_K]
        values["roc_auc"] = macro_roc_auc(binary_NC, ranked_NC)
        values["pr_auc"] = macro_pr_auc(binary_NC, ranked_NC)
        names = np.array(vocabulary.names)[classify_K]
        values["unscored_tags"] = names[~scorable_tags(binary_NC)].tolist()
    if regress_K.any():
        values["rmse"] = rmse(true_NK[:, regress_K], score_NK[:, regress_K])
    if vocabulary.exclusive:
        values["accuracy"] = accuracy(true_NK, score_NK)
    return values
