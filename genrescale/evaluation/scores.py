"""Metrics of a score table with intervals, and the paired test of two tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genrescale.audio import Vocabulary
from genrescale.config.metrics import SCORE_METRICS
from genrescale.data.manifest import Manifest
from genrescale.evaluation.ensemble import VOTES, combine_clips
from genrescale.metrics import best_thresholds, f1_by_tag, score
from genrescale.metrics.bootstrap import Interval, PairedTest, bootstrap_interval, paired_test
from genrescale.metrics.by_tag import decisions
from genrescale.results import ScoreTable


def _columns(metric: str, vocabulary: Vocabulary, score_NK: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the tags (K,) that a metric covers and the scores that it uses; None if the vocabulary does not define it.

    If tags are exclusive, a song's prediction is its highest tag. So F1 uses that and needs no threshold, and micro F1
    would equal the accuracy.
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
    """Compute every metric that the vocabulary and the songs define, with its bootstrap interval."""
    intervals_of = {}
    for metric in SCORE_METRICS:
        if (columns := _columns(metric, vocabulary, table.score_NK)) is None:
            continue
        mask_K, score_NK = columns
        arrays = table.true_NK[:, mask_K], score_NK[:, mask_K]
        interval = bootstrap_interval(metric, *arrays, seed=seed, resamples=resamples, threshold=threshold)
        if interval is not None:
            intervals_of[metric] = interval
    return intervals_of


def compare(
    a: ScoreTable, b: ScoreTable, vocabulary: Vocabulary, threshold: float, seed: int, resamples: int
) -> dict[str, PairedTest]:
    """Run the paired test of two runs (a - b) for every metric that the vocabulary and the songs define."""
    tests = {}
    for metric in SCORE_METRICS:
        columns = [_columns(metric, vocabulary, table.score_NK) for table in (a, b)]
        if columns[0] is None or columns[1] is None:
            continue
        mask_K = columns[0][0]
        scores = [score_NK[:, mask_K] for _, score_NK in (columns[0], columns[1])]
        test = paired_test(metric, a.true_NK[:, mask_K], *scores, seed=seed, resamples=resamples, threshold=threshold)
        if test is not None:
            tests[metric] = test
    return tests


@dataclass(frozen=True)
class ClipVote:
    """Metrics of songs by votes of their clips: the number of songs, and the metrics that the vocabulary defines."""

    songs: int
    accuracy: float | None
    roc_auc: float | None
    pr_auc: float | None


def clip_votes(clips: ScoreTable, manifest: Manifest, vocabulary: Vocabulary) -> dict[str, ClipVote]:
    """Compute the songs' metrics for each voting method.

    The GTZAN project's 82.18 % is ``soft_on_ties`` of three clips a song. A clip's song is its artist in the manifest,
    which is how a corpus of clips keeps a song in one split. Raises ValueError as ``combine_clips`` does.
    """
    names = zip(manifest.songs["key"].to_pylist(), manifest.songs["artist"].to_pylist(), strict=True)
    song_of = {key: artist for key, artist in names if artist}
    votes = {}
    for how in VOTES:
        songs = combine_clips(clips, song_of, vocabulary, how)
        values = score(songs.true_NK, songs.score_NK, vocabulary)
        votes[how] = ClipVote(len(songs.keys), values["accuracy"], values["roc_auc"], values["pr_auc"])
    return votes


def best_f1(table: ScoreTable, vocabulary: Vocabulary) -> list[tuple[float | None, float | None]]:
    """Return each tag's threshold with the highest F1, and that F1; None for regress tags and unscorable tags.

    It is chosen on the test songs, hence an upper bound for thresholds chosen on other songs.
    """
    mask_K = vocabulary.classify_K
    best: list[tuple[float | None, float | None]] = [(None, None)] * len(vocabulary)
    if not mask_K.any():
        return best
    true_NC, score_NC = table.true_NK[:, mask_K], table.score_NK[:, mask_K]
    threshold_C = best_thresholds(true_NC, score_NC)
    f1_C = f1_by_tag(true_NC, score_NC, threshold_C)
    pairs = zip(threshold_C.tolist(), f1_C.tolist(), strict=True)
    for tag, (threshold, f1) in zip(np.flatnonzero(mask_K).tolist(), pairs, strict=True):
        if not np.isnan(f1):
            best[tag] = (threshold, f1)
    return best
