"""Tag-level analysis of a score table: frequency classes, confusions, popularity and mutually exclusive tags.

Shapes: N songs, K tags; conventions and errors as in ``genrescale.metrics``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genrescale.audio import TagKind, Vocabulary
from genrescale.metrics import (
    accuracy,
    check_binary,
    macro_f1,
    macro_pr_auc,
    macro_roc_auc,
    predicted,
    rmse,
    validate,
)

FREQUENCY_CLASSES = ("head", "middle", "tail")


def frequency_classes(count_K: np.ndarray, head_above: int = 550, tail_up_to: int = 200) -> list[str]:
    """Classify each tag as ``head``, ``middle`` or ``tail`` by its number of training songs.

    Defaults are those of MediaEval 2020 (Table II): head has over 550 songs, tail at most 200, middle the rest.
    """
    if not 0 <= tail_up_to <= head_above:
        raise ValueError(f"tail_up_to={tail_up_to} must be from 0 to head_above={head_above}")
    return ["head" if count > head_above else "tail" if count <= tail_up_to else "middle" for count in count_K]


@dataclass(frozen=True)
class ClassScore:
    """Macro means over the tags of one frequency class; None if none of them can be scored."""

    name: str
    num_tags: int
    roc_auc: float | None
    pr_auc: float | None


def class_scores(y_true_NK: np.ndarray, y_score_NK: np.ndarray, classes: Sequence[str]) -> list[ClassScore]:
    """Score the head, middle and tail tags separately. ``classes`` names the class of each tag."""
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    if len(classes) != true_NK.shape[1] or not set(classes) <= set(FREQUENCY_CLASSES):
        raise ValueError(f"classes must name one of {list(FREQUENCY_CLASSES)} for each of {true_NK.shape[1]} tags")
    scores = []
    for name in FREQUENCY_CLASSES:
        mask_K = np.array([tag_class == name for tag_class in classes])
        part = true_NK[:, mask_K], score_NK[:, mask_K]
        values = (macro_roc_auc(*part), macro_pr_auc(*part)) if mask_K.any() else (None, None)
        scores.append(ClassScore(name, int(mask_K.sum()), *values))
    return scores


def confusion_matrix(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> np.ndarray:
    """Count songs by their one tag (rows) and the tag with the highest score (columns), int (K, K).

    Raises ValueError for a song without exactly one tag.
    """
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    accuracy(true_NK, score_NK)  # raises for a song without exactly one tag
    count_KK = np.zeros((true_NK.shape[1],) * 2, np.int64)
    np.add.at(count_KK, (true_NK.argmax(axis=1), score_NK.argmax(axis=1)), 1)
    return count_KK


def decisions(score_NK: np.ndarray, vocabulary: Vocabulary, threshold: float | np.ndarray = 0.5) -> np.ndarray:
    """Return the predicted tags (boolean N, K): scores of at least the threshold; if exclusive, the highest score."""
    if vocabulary.exclusive:
        return np.eye(len(vocabulary), dtype=bool)[score_NK.argmax(axis=1)]
    return predicted(score_NK, threshold)


@dataclass(frozen=True)
class TagRow:
    """Statistics and metrics of one tag.

    ``popularity`` is the mean score; above ``prevalence``, the model overestimates the tag. ``predicted`` is the share
    of songs for which the tag is predicted (``decisions``), as used by F1. Metrics are None for a tag that no song or
    every song has. For a regress tag ``prevalence`` is the mean label, and RMSE the only metric.
    """

    name: str
    kind: TagKind
    support: int | None
    prevalence: float
    popularity: float
    predicted: float | None
    roc_auc: float | None
    pr_auc: float | None
    f1: float | None
    rmse: float | None


def tag_rows(
    y_true_NK: np.ndarray, y_score_NK: np.ndarray, vocabulary: Vocabulary, threshold: float | np.ndarray = 0.5
) -> list[TagRow]:
    """Compute one row for each tag, in the vocabulary's order."""
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    if len(vocabulary) != true_NK.shape[1]:
        raise ValueError(f"arrays have {true_NK.shape[1]} tags, the vocabulary has {len(vocabulary)}")
    predicted_NK = decisions(score_NK, vocabulary, threshold)
    rows = []
    for k, tag in enumerate(vocabulary.tags):
        true_N1, score_N1 = true_NK[:, [k]], score_NK[:, [k]]
        means = float(true_N1.mean()), float(score_N1.mean())
        if tag.kind == "regress":
            rows.append(TagRow(tag.name, tag.kind, None, *means, None, None, None, None, rmse(true_N1, score_N1)))
            continue
        roc, pr = macro_roc_auc(true_N1, score_N1), macro_pr_auc(true_N1, score_N1)
        f1 = macro_f1(true_N1, predicted_NK[:, [k]])
        rows.append(
            TagRow(tag.name, tag.kind, int(true_N1.sum()), *means, float(predicted_NK[:, k].mean()), roc, pr, f1, None)
        )
    return rows


def prevalence_thresholds(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> np.ndarray:
    """Find thresholds (K,) that predict each tag for as many songs as have it, or more if scores are tied.

    This removes a model's bias towards popular tags from a comparison. Infinity for a tag that no song has.
    """
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    check_binary(true_NK)
    count_K = true_NK.sum(axis=0).astype(int)
    falling_NK = -np.sort(-score_NK, axis=0)
    return np.where(count_K > 0, falling_NK[count_K - 1, np.arange(len(count_K))], np.inf)


@dataclass(frozen=True)
class ExclusivePair:
    """Two tags that (almost) never occur together: songs with both, expected by chance, and predicted with both."""

    first: str
    second: str
    together: int
    expected: float
    predicted: int


def exclusive_pairs(
    y_true_NK: np.ndarray,
    predicted_NK: np.ndarray,
    names: Sequence[str],
    rare: float = 0.1,
    min_expected: float = 5.0,
) -> list[ExclusivePair]:
    """Find pairs of tags that rarely occur together but are predicted together; most predicted first.

    A pair is rare if the songs with both tags are at most ``rare`` times as many as expected by chance (the product of
    the tags' shares). The expected number must be at least ``min_expected``: two rare tags give no evidence. Only pairs
    predicted for more songs than have both are listed. Pons et al. 2018 (5.1) discuss such tags (baroque and classic
    period).
    """
    true_NK, pred_NK = validate(y_true_NK, predicted_NK)
    check_binary(true_NK)
    if len(names) != true_NK.shape[1]:
        raise ValueError(f"{len(names)} names were given for {true_NK.shape[1]} tags")
    if not np.isin(pred_NK, (0, 1)).all():
        raise ValueError("predicted_NK must hold 0 or 1, or booleans: compare the scores with a threshold")
    count_K = true_NK.sum(axis=0)
    together_KK, pred_KK = true_NK.T @ true_NK, pred_NK.T @ pred_NK
    expected_KK = np.outer(count_K, count_K) / len(true_NK)
    listed_KK = (expected_KK >= min_expected) & (together_KK <= rare * expected_KK) & (pred_KK > together_KK)
    pairs = [
        ExclusivePair(names[j], names[k], int(together_KK[j, k]), float(expected_KK[j, k]), int(pred_KK[j, k]))
        for j, k in itertools.combinations(range(len(names)), 2)
        if listed_KK[j, k]
    ]
    return sorted(pairs, key=lambda pair: -pair.predicted)
