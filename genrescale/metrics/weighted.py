"""Sample-weighted metrics, vectorised over resamples.

A metric is prepared once (songs sorted, errors summed) and then evaluated for the song weights of R resamples. Values
are exact, with ties: they equal scikit-learn's with ``sample_weight``.

Shapes: R resamples, N songs, K tags; n songs of a ranked list, p of them positive (with the tag). ``weight_RN`` (>= 0)
is how often each song counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from genrescale.config.metrics import SCORE_METRICS
from genrescale.metrics import accuracy, predicted, scorable_tags, validate

# weight_RN -> values (R, K) that a macro metric averages, NaN where a tag lacks a class; other metrics have one column.
Parts = Callable[[np.ndarray], np.ndarray]
_BLOCK = 1 << 19  # weights per block: 4 MB, which fits a core's cache


@dataclass(frozen=True, eq=False)
class Ranking:
    """Songs by falling score and, for each positive song, the run of songs with the same score (a tie).

    ``start_p`` and ``end_p`` are positions of the tie among all songs, ``hit_start_p`` and ``hit_end_p`` among positive
    songs.
    """

    song_n: np.ndarray
    song_p: np.ndarray
    start_p: np.ndarray
    end_p: np.ndarray
    hit_start_p: np.ndarray
    hit_end_p: np.ndarray


def rank(true_NK: np.ndarray, score_NK: np.ndarray) -> Ranking:
    """Rank all (song, tag) pairs in one list. For a ranking of one tag, pass arrays (N, 1)."""
    true_n, score_n = true_NK.ravel(), score_NK.ravel()
    order_n = np.argsort(-score_n, kind="stable")
    order_p = order_n[true_n[order_n] == 1]
    rising_n, rising_p = -score_n[order_n], -score_n[order_p]
    ends = [np.searchsorted(values, rising_p, side) for values in (rising_n, rising_p) for side in ("left", "right")]
    return Ranking(order_n // true_NK.shape[1], order_p // true_NK.shape[1], *ends)


def _sums_before(weight_RN: np.ndarray, song_n: np.ndarray) -> np.ndarray:
    """Return cumulative weights (R, n + 1): of the first 0, 1, ... n songs of a list."""
    sums = np.zeros((len(weight_RN), len(song_n) + 1))
    np.cumsum(np.take(weight_RN, song_n, axis=1), axis=1, out=sums[:, 1:])
    return sums


def _divide(numerator_R: np.ndarray, denominator_R: np.ndarray) -> np.ndarray:
    return np.divide(numerator_R, denominator_R, out=np.full(len(numerator_R), np.nan), where=denominator_R > 0)


def roc_auc(ranking: Ranking, weight_RN: np.ndarray) -> np.ndarray:
    """Area under the ROC curve (R,): the weight of correctly ordered pairs, counting ties half."""
    seen, hits = _sums_before(weight_RN, ranking.song_n), _sums_before(weight_RN, ranking.song_p)
    above = seen.take(ranking.start_p, axis=1) - hits.take(ranking.hit_start_p, axis=1)
    # now twice the negatives ranked above each positive, ties counting half
    above += seen.take(ranking.end_p, axis=1) - hits.take(ranking.hit_end_p, axis=1)
    positive_R, negative_R = hits[:, -1], seen[:, -1] - hits[:, -1]
    wrong_R = (np.diff(hits, axis=1) * above).sum(axis=1) / 2
    return 1 - _divide(wrong_R, positive_R * negative_R)


def pr_auc(ranking: Ranking, weight_RN: np.ndarray) -> np.ndarray:
    """Average precision (R,): the mean, over positive songs, of the precision at the song's score."""
    seen, hits = _sums_before(weight_RN, ranking.song_n), _sums_before(weight_RN, ranking.song_p)
    seen_Rp, weight_Rp = seen.take(ranking.end_p, axis=1), np.diff(hits, axis=1)
    gain_Rp = weight_Rp * hits.take(ranking.hit_end_p, axis=1)
    sum_R = np.divide(gain_Rp, seen_Rp, out=np.zeros_like(gain_Rp), where=seen_Rp > 0).sum(axis=1)
    both_R = (hits[:, -1] > 0) & (seen[:, -1] > hits[:, -1])
    return _divide(sum_R, np.where(both_R, hits[:, -1], 0))


def _area_parts(area: Callable[[Ranking, np.ndarray], np.ndarray], rankings: Sequence[Ranking]) -> Parts:
    def parts(weight_RN: np.ndarray) -> np.ndarray:
        rows = max(1, _BLOCK // len(rankings[0].song_n))
        blocks = [weight_RN[start : start + rows] for start in range(0, len(weight_RN), rows)]
        return np.stack([np.concatenate([area(ranking, block) for block in blocks]) for ranking in rankings], axis=1)

    return parts


def _f1_parts(hits_NK: np.ndarray, predicted_NK: np.ndarray, true_NK: np.ndarray, pairs: int) -> Parts:
    """Make the function for F1 from the counts of each song.

    ``pairs`` is how many (song, tag) pairs a song adds to a column.
    """

    def parts(weight_RN: np.ndarray) -> np.ndarray:
        positive_RK = weight_RN @ true_NK
        both_RK = (positive_RK > 0) & (positive_RK < pairs * weight_RN.sum(axis=1, keepdims=True))
        value_RK = np.full(positive_RK.shape, np.nan)
        return np.divide(
            weight_RN @ (2.0 * hits_NK), positive_RK + weight_RN @ predicted_NK, out=value_RK, where=both_RK
        )

    return parts


def weighted_metric(
    metric: str, y_true_NK: np.ndarray, y_score_NK: np.ndarray, threshold: float | np.ndarray = 0.5
) -> Parts | None:
    """Prepare a metric: returns a function of ``weight_RN`` whose mean over columns is the metric's value.

    Returns None if the metric is undefined. Only F1 uses ``threshold``. Raises ValueError for a metric outside
    SCORE_METRICS and for bad arrays.
    """
    if metric not in SCORE_METRICS:
        raise ValueError(f"metric {metric!r} is none of {list(SCORE_METRICS)}")
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    if metric == "rmse":
        error_N1 = ((true_NK - score_NK) ** 2).mean(axis=1, keepdims=True)
        return lambda weight_RN: np.sqrt(weight_RN @ error_N1 / weight_RN.sum(axis=1, keepdims=True))
    if metric == "accuracy":
        accuracy(true_NK, score_NK)  # raises for a song without exactly one tag
        right_N1 = (true_NK.argmax(axis=1) == score_NK.argmax(axis=1))[:, None].astype(float)
        return lambda weight_RN: weight_RN @ right_N1 / weight_RN.sum(axis=1, keepdims=True)
    micro, kind = metric.startswith("micro_"), metric.removeprefix("micro_")
    kept_K = scorable_tags(true_NK)
    if not (scorable_tags(true_NK.reshape(-1, 1)) if micro else kept_K).any():
        return None
    if kind == "f1":
        counts = [predicted(score_NK, threshold) * true_NK, predicted(score_NK, threshold).astype(float), true_NK]
        columns = [count_NK.sum(axis=1, keepdims=True) if micro else count_NK[:, kept_K] for count_NK in counts]
        return _f1_parts(*columns, pairs=true_NK.shape[1] if micro else 1)
    if micro:
        rankings = [rank(true_NK, score_NK)]
    else:
        rankings = [rank(true_NK[:, [k]], score_NK[:, [k]]) for k in np.flatnonzero(kept_K)]
    return _area_parts(roc_auc if kind == "roc_auc" else pr_auc, rankings)
