"""Bootstrap intervals of a metric, and a paired test of two runs on the same songs.

Whole songs are resampled, with all their tags, which keeps the dependence between tags. The intervals cover the choice
of songs only, not the seed or the training set. Metrics are named as in ``genrescale.config.metrics.SCORE_METRICS``.

The default interval is ``basic`` (the bootstrap percentiles reflected at the value), not ``percentile``. Average
precision of few songs is biased upwards, and that of resampled songs more so, because a song drawn twice confirms
itself. The basic interval subtracts this extra bias, the percentile interval adds it. Measured with normal scores and
30 tags of 2 to 30 % of the songs, the 95 % interval of macro PR-AUC covered the truth with 300, 1,000, 4,000 songs in
7, 17, 45 % of the cases (percentile) and 87, 90, 95 % (basic). For macro ROC-AUC both cover it in 92 to 95 %.

In each resample, a macro mean is over the tags that have both classes in it. A tag without both is left out of that
resample, which gives the other tags more weight; ``incomplete`` counts such resamples. This is common for rare tags: a
tag of 1, 2 or 3 songs has no song in 37, 14 or 5 % of the resamples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from genrescale.metrics.weighted import Parts, weighted_metric

LEVEL = 0.95
RESAMPLES = 1000
METHODS = ("basic", "percentile")
_BLOCK = 1 << 22  # weights per block: 32 MB


@dataclass(frozen=True)
class Interval:
    """A metric over all songs and its interval. In ``incomplete`` of the ``resamples`` some tag lacked a class."""

    value: float
    low: float
    high: float
    resamples: int
    incomplete: int


@dataclass(frozen=True)
class PairedTest:
    """The difference a - b of two runs on the same songs, with its bootstrap interval and a two-sided p-value.

    ``p_value`` is from an approximate randomisation test: the share of random swaps of the two runs' scores, song by
    song, that give a difference at least as large. It is at least 1 / (resamples + 1).
    """

    difference: float
    low: float
    high: float
    p_value: float
    resamples: int
    incomplete: int


def bootstrap_interval(
    metric: str,
    y_true_NK: np.ndarray,
    y_score_NK: np.ndarray,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    threshold: float | np.ndarray = 0.5,
    method: str = "basic",
) -> Interval | None:
    """Compute the interval of a metric over resampled songs (Efron and Tibshirani 1993).

    Returns None if the metric is undefined. The interval is clipped to the metric's range (0 to 1; RMSE: from 0). Only
    F1 uses ``threshold``. Raises ValueError for bad arguments, and if no resample has both classes of any tag.
    """
    _check(resamples, level, method)
    parts = weighted_metric(metric, y_true_NK, y_score_NK, threshold)
    if parts is None:
        return None
    num_songs = len(y_true_NK)
    part_RK = np.concatenate([parts(weight_RN) for weight_RN in _bootstrap_weights(num_songs, seed, resamples)])
    value = _value(parts, num_songs)
    low, high = np.clip(_interval(value, part_RK, level, method), 0, np.inf if metric == "rmse" else 1).tolist()
    return Interval(value, low, high, resamples, int(np.isnan(part_RK).any(axis=1).sum()))


def resampled_values(
    metric: str, y_true_NK: np.ndarray, y_score_NK: np.ndarray, resamples: int, seed: int = 0
) -> np.ndarray | None:
    """Return the metric on resampled songs (R,), the same songs for every run on them; None if it is undefined.

    NaN marks a resample in which no tag has both classes.
    """
    parts = weighted_metric(metric, y_true_NK, y_score_NK)
    if parts is None:
        return None
    part_RK = np.concatenate([parts(weight_RN) for weight_RN in _bootstrap_weights(len(y_true_NK), seed, resamples)])
    known_RK = ~np.isnan(part_RK)
    sum_R, count_R = np.where(known_RK, part_RK, 0).sum(axis=1), known_RK.sum(axis=1)
    return np.divide(sum_R, count_R, out=np.full(len(part_RK), np.nan), where=count_R > 0)


def paired_test(
    metric: str,
    y_true_NK: np.ndarray,
    score_a_NK: np.ndarray,
    score_b_NK: np.ndarray,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    threshold: float | np.ndarray = 0.5,
) -> PairedTest | None:
    """Test whether two runs differ on the same songs, with the same resamples for both.

    Returns None if the metric is undefined. The randomisation test swaps the two runs' scores of a song, all tags at
    once, with probability 1/2 (Noreen 1989; Smucker et al. 2007). For ROC-AUC and PR-AUC it swaps ranks instead of
    scores, by tag (micro: over all pairs). Both metrics depend on ranks only, so two runs with the same order but other
    scales must not look different.
    """
    _check(resamples, level)
    a, b = (weighted_metric(metric, y_true_NK, scores, threshold) for scores in (score_a_NK, score_b_NK))
    if a is None or b is None:
        return None
    num_songs = len(y_true_NK)
    pairs = [(a(weight_RN), b(weight_RN)) for weight_RN in _bootstrap_weights(num_songs, seed, resamples)]
    part_RK = np.concatenate([part_a - part_b for part_a, part_b in pairs])
    difference = _value(a, num_songs) - _value(b, num_songs)
    low, high = _interval(difference, part_RK, level, "basic")
    swapped_R = _swapped_differences(metric, y_true_NK, score_a_NK, score_b_NK, seed, resamples, threshold)
    as_large = int((np.abs(swapped_R) >= abs(difference) - 1e-12).sum())
    incomplete = int(np.isnan(part_RK).any(axis=1).sum())
    return PairedTest(difference, low, high, (as_large + 1) / (resamples + 1), resamples, incomplete)


def _swapped_differences(
    metric: str,
    y_true_NK: np.ndarray,
    score_a_NK: np.ndarray,
    score_b_NK: np.ndarray,
    seed: int,
    resamples: int,
    threshold: float | np.ndarray,
) -> np.ndarray:
    """Return the differences (R,) after random swaps of songs between the two runs.

    Both runs' songs are ranked once, as one list; weights of 0 and 1 select each song's scores from one run or the
    other.
    """
    if metric.endswith(("roc_auc", "pr_auc")):
        axis = None if metric.startswith("micro_") else 0
        score_a_NK, score_b_NK = (
            rankdata(scores, axis=axis).reshape(np.shape(scores)) for scores in (score_a_NK, score_b_NK)
        )
    true_NK = np.asarray(y_true_NK)
    parts = weighted_metric(
        metric, np.concatenate([true_NK, true_NK]), np.concatenate([score_a_NK, score_b_NK]), threshold
    )
    assert parts is not None, "the two runs have a value, so both together have one"
    rng = np.random.default_rng([seed, 1])
    differences = []
    for rows in _rows(len(true_NK), resamples):
        kept_RN = rng.integers(0, 2, (rows, len(true_NK))).astype(np.float64)
        first, second = parts(np.hstack([kept_RN, 1 - kept_RN])), parts(np.hstack([1 - kept_RN, kept_RN]))
        differences.append((first - second).mean(axis=1))
    return np.concatenate(differences)


def _check(resamples: int, level: float, method: str = "basic") -> None:
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"resamples ({resamples}) must be at least 1 and level ({level}) between 0 and 1")
    if method not in METHODS:
        raise ValueError(f"method {method!r} is none of {list(METHODS)}")


def _rows(num_songs: int, resamples: int) -> Iterator[int]:
    """Yield the sizes of blocks of resamples that fit in memory; they add up to ``resamples``."""
    block = max(1, _BLOCK // num_songs)
    for start in range(0, resamples, block):
        yield min(block, resamples - start)


def _bootstrap_weights(num_songs: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Yield blocks (rows, N) of bootstrap weights: how often each of N songs occurs in N draws with replacement."""
    rng = np.random.default_rng([seed, 0])
    for rows in _rows(num_songs, resamples):
        drawn_RN = rng.integers(0, num_songs, (rows, num_songs)) + num_songs * np.arange(rows)[:, None]
        yield np.bincount(drawn_RN.ravel(), minlength=rows * num_songs).reshape(rows, num_songs).astype(np.float64)


def _value(parts: Parts, num_songs: int) -> float:
    return float(parts(np.ones((1, num_songs))).mean())


def _mean_of_known(part_RK: np.ndarray) -> np.ndarray:
    """Return the mean over the tags that have a value (R,); resamples without any value are dropped."""
    known_RK = ~np.isnan(part_RK)
    kept_R = known_RK.any(axis=1)
    return np.where(known_RK, part_RK, 0).sum(axis=1)[kept_R] / known_RK.sum(axis=1)[kept_R]


def _interval(value: float, part_RK: np.ndarray, level: float, method: str) -> tuple[float, float]:
    value_R = _mean_of_known(part_RK)
    if not len(value_R):
        raise ValueError("no resample of the songs has both classes of any tag: there are too few songs")
    low, high = np.quantile(value_R, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return (low, high) if method == "percentile" else (2 * value - high, 2 * value - low)
