"""What a score table says tag by tag: frequency classes, confusions, popularity, and tags that exclude each other.

Shapes: N songs, K tags; the conventions and errors of ``genrescale.metrics``.
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
    """``head``, ``middle`` or ``tail`` for each tag, by the number of training songs that have it.

    The defaults are MediaEval 2020's (Table II): head has over 550 songs, tail at most 200, middle what is between.
    """
    if not 0 <= tail_up_to <= head_above:
        raise ValueError(f"tail_up_to={tail_up_to} must be from 0 to head_above={head_above}")
    return ["head" if count > head_above else "tail" if count <= tail_up_to else "middle" for count in count_K]


@dataclass(frozen=True)
class ClassScore:
    """Macro means over the tags of one frequency class; None where none of them can be scored."""

    name: str
    num_tags: int
    roc_auc: float | None
    pr_auc: float | None


def class_scores(y_true_NK: np.ndarray, y_score_NK: np.ndarray, classes: Sequence[str]) -> list[ClassScore]:
    """The scores of head, middle and tail tags; ``classes`` has one of their names for each tag."""
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    if len(classes) != true_NK.shape[1] or not set(classes) <= set(FREQUENCY_CLASSES):
        raise ValueError(f"classes must name one of {list(FREQUENCY_CLASSES)} for each of {true_NK.shape[1]} tags")
    found = []
    for name in FREQUENCY_CLASSES:
        mask_K = np.array([given == name for given in classes])
        part = true_NK[:, mask_K], score_NK[:, mask_K]
        values = (macro_roc_auc(*part), macro_pr_auc(*part)) if mask_K.any() else (None, None)
        found.append(ClassScore(name, int(mask_K.sum()), *values))
    return found


def confusion_matrix(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> np.ndarray:
    """Songs by their one tag (rows) and the tag with the highest score (columns), int (K, K).

    Raises ValueError where a song has not exactly one tag.
    """
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    accuracy(true_NK, score_NK)  # refuses what is not one tag a song
    count_KK = np.zeros((true_NK.shape[1],) * 2, np.int64)
    np.add.at(count_KK, (true_NK.argmax(axis=1), score_NK.argmax(axis=1)), 1)
    return count_KK


def decisions(score_NK: np.ndarray, vocabulary: Vocabulary, threshold: float | np.ndarray = 0.5) -> np.ndarray:
    """Which tags are predicted (boolean N, K): scores from the threshold on; of exclusive tags the highest alone."""
    if vocabulary.exclusive:
        return np.eye(len(vocabulary), dtype=bool)[score_NK.argmax(axis=1)]
    return predicted(score_NK, threshold)


@dataclass(frozen=True)
class TagRow:
    """One tag. ``popularity`` is the mean score: where it is above ``prevalence``, the model says the tag too often.

    ``predicted`` is the share of songs that it is predicted for (``decisions``), which F1 judges. Metrics of a tag that
    has no songs, or all, are None. Of a regress tag ``prevalence`` is the mean label, and RMSE its only metric.
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
    """One row for each tag, in the vocabulary's order."""
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    if len(vocabulary) != true_NK.shape[1]:
        raise ValueError(f"arrays have {true_NK.shape[1]} tags, the vocabulary has {len(vocabulary)}")
    said_NK = decisions(score_NK, vocabulary, threshold)
    rows = []
    for k, tag in enumerate(vocabulary.tags):
        true_N1, score_N1 = true_NK[:, [k]], score_NK[:, [k]]
        means = float(true_N1.mean()), float(score_N1.mean())
        if tag.kind == "regress":
            rows.append(TagRow(tag.name, tag.kind, None, *means, None, None, None, None, rmse(true_N1, score_N1)))
            continue
        roc, pr = macro_roc_auc(true_N1, score_N1), macro_pr_auc(true_N1, score_N1)
        f1 = macro_f1(true_N1, said_NK[:, [k]])
        rows.append(
            TagRow(tag.name, tag.kind, int(true_N1.sum()), *means, float(said_NK[:, k].mean()), roc, pr, f1, None)
        )
    return rows


def prevalence_thresholds(y_true_NK: np.ndarray, y_score_NK: np.ndarray) -> np.ndarray:
    """Thresholds (K,) that predict each tag for as many songs as have it, or for more where scores are equal.

    It takes a model's bias towards popular tags out of what is compared. Infinity for a tag that no song has.
    """
    true_NK, score_NK = validate(y_true_NK, y_score_NK)
    check_binary(true_NK)
    count_K = true_NK.sum(axis=0).astype(int)
    falling_NK = -np.sort(-score_NK, axis=0)
    return np.where(count_K > 0, falling_NK[count_K - 1, np.arange(len(count_K))], np.inf)


@dataclass(frozen=True)
class ExclusivePair:
    """Two tags that (almost) exclude each other: songs with both, songs expected by chance, songs predicted both."""

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
    """Pairs of tags that rarely occur together and are predicted together, the most often predicted first.

    Rarely: in at most ``rare`` times as many songs as chance would give (the product of their shares), where chance
    gives at least ``min_expected``: of two rare tags nothing can be said. Only pairs are listed that are predicted
    together for more songs than have both. Pons et al. 2018 (5.1) look at such tags (baroque and classic period).
    """
    true_NK, said_NK = validate(y_true_NK, predicted_NK)
    check_binary(true_NK)
    if len(names) != true_NK.shape[1]:
        raise ValueError(f"{len(names)} names were given for {true_NK.shape[1]} tags")
    if not np.isin(said_NK, (0, 1)).all():
        raise ValueError("predicted_NK must hold 0 or 1, or booleans: compare the scores with a threshold")
    count_K = true_NK.sum(axis=0)
    together_KK, said_KK = true_NK.T @ true_NK, said_NK.T @ said_NK
    expected_KK = np.outer(count_K, count_K) / len(true_NK)
    found_KK = (expected_KK >= min_expected) & (together_KK <= rare * expected_KK) & (said_KK > together_KK)
    pairs = [
        ExclusivePair(names[j], names[k], int(together_KK[j, k]), float(expected_KK[j, k]), int(said_KK[j, k]))
        for j, k in itertools.combinations(range(len(names)), 2)
        if found_KK[j, k]
    ]
    return sorted(pairs, key=lambda pair: -pair.predicted)
