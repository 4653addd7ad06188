"""Every metric of a score table with its interval, and the paired test of two: which metrics, of which of its tags."""

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
    for metric in SCORE_METRICS:
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
    """The paired test of two runs (a - b) for every metric that the vocabulary and the songs define."""
    found = {}
    for metric in SCORE_METRICS:
        columns = [_columns(metric, vocabulary, table.score_NK) for table in (a, b)]
        if columns[0] is None or columns[1] is None:
            continue
        mask_K = columns[0][0]
        scores = [score_NK[:, mask_K] for _, score_NK in (columns[0], columns[1])]
        test = paired_test(metric, a.true_NK[:, mask_K], *scores, seed=seed, resamples=resamples, threshold=threshold)
        if test is not None:
            found[metric] = test
    return found


@dataclass(frozen=True)
class ClipVote:
    """What songs score whose clips voted: how many songs, and the metrics that the vocabulary defines."""

    songs: int
    accuracy: float | None
    roc_auc: float | None
    pr_auc: float | None


def clip_votes(clips: ScoreTable, manifest: Manifest, vocabulary: Vocabulary) -> dict[str, ClipVote]:
    """The songs' metrics for each way to vote (the GTZAN project's 82.18 % is ``soft_on_ties`` of three clips a song).

    A clip's song is its artist in the manifest, by which a corpus of clips keeps a song in one split. Raises ValueError
    as ``combine_clips`` does.
    """
    names = zip(manifest.songs["key"].to_pylist(), manifest.songs["artist"].to_pylist(), strict=True)
    song_of = {key: artist for key, artist in names if artist}
    found = {}
    for how in VOTES:
        songs = combine_clips(clips, song_of, vocabulary, how)
        values = score(songs.true_NK, songs.score_NK, vocabulary)
        found[how] = ClipVote(len(songs.keys), values["accuracy"], values["roc_auc"], values["pr_auc"])
    return found


def best_f1(table: ScoreTable, vocabulary: Vocabulary) -> list[tuple[float | None, float | None]]:
    """The threshold of each tag with the highest F1, and that F1: chosen on the test songs, so an upper bound of what
    thresholds chosen on other songs reach. None for regress tags and for tags that cannot be scored.
    """
    mask_K = vocabulary.classify_K
    found: list[tuple[float | None, float | None]] = [(None, None)] * len(vocabulary)
    if not mask_K.any():
        return found
    true_NC, score_NC = table.true_NK[:, mask_K], table.score_NK[:, mask_K]
    threshold_C = best_thresholds(true_NC, score_NC)
    f1_C = f1_by_tag(true_NC, score_NC, threshold_C)
    pairs = zip(threshold_C.tolist(), f1_C.tolist(), strict=True)
    for tag, (threshold, f1) in zip(np.flatnonzero(mask_K).tolist(), pairs, strict=True):
        if not np.isnan(f1):
            found[tag] = (threshold, f1)
    return found
