"""Metrics against scikit-learn's own macro averages and against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    precision_recall_curve,
    roc_auc_score,
)

from genrescale.audio import Tag, Vocabulary
from genrescale.metrics import (
    accuracy,
    best_thresholds,
    f1_by_tag,
    macro_f1,
    macro_pr_auc,
    macro_roc_auc,
    micro_f1,
    micro_pr_auc,
    micro_roc_auc,
    pr_auc_by_tag,
    rmse,
    scorable_tags,
    score,
)

TRUE = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
SCORE = np.array([[0.9, 0.1], [0.8, 0.7], [0.3, 0.2], [0.1, 0.4]])


def arrays(num_songs: int = 300, num_tags: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true_NK = (rng.random((num_songs, num_tags)) < np.linspace(0.05, 0.9, num_tags)).astype(np.float32)
    return true_NK, np.round(0.3 * true_NK + rng.random((num_songs, num_tags)), 2)  # rounded: ties occur


def test_equals_scikit_learn():
    true_NK, score_NK = arrays()
    assert macro_roc_auc(true_NK, score_NK) == pytest.approx(roc_auc_score(true_NK, score_NK), abs=1e-12)
    assert macro_pr_auc(true_NK, score_NK) == pytest.approx(average_precision_score(true_NK, score_NK), abs=1e-12)


def test_values_by_hand():
    # Tag 0: positives at ranks 1 and 3. Of 4 pairs 3 are in order; precision is 1/1 and 2/3 at the positives.
    # Tag 1: positives at ranks 1 and 3 too (0.7, 0.2), between them 0.4.
    assert macro_roc_auc(TRUE, SCORE) == pytest.approx(0.75)
    assert macro_pr_auc(TRUE, SCORE) == pytest.approx((1 + 2 / 3) / 2)
    assert rmse(np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([[0.1, 0.8], [0.5, 0.9]])) == pytest.approx(
        ((0.01 + 0.04 + 0 + 0.16) / 4) ** 0.5
    )
    one_hot = np.eye(3)[[0, 1, 2, 2]]
    assert accuracy(one_hot, np.array([[3, 2, 1], [0, 0, 1], [0, 0, 1], [0, 1, 5]])) == 0.75


def test_tags_without_both_classes_are_left_out():
    true_NK, score_NK = arrays()
    broken_NK = true_NK.copy()
    broken_NK[:, 2], broken_NK[:, 5] = 0, 1
    kept = [0, 1, 3, 4, 6]
    assert scorable_tags(broken_NK).tolist() == [k in kept for k in range(7)]
    assert macro_roc_auc(broken_NK, score_NK) == pytest.approx(roc_auc_score(true_NK[:, kept], score_NK[:, kept]))
    expected = average_precision_score(true_NK[:, kept], score_NK[:, kept])
    assert macro_pr_auc(broken_NK, score_NK) == pytest.approx(expected)


def test_no_scorable_tag_is_none_not_zero():
    assert macro_roc_auc(np.ones((3, 2)), np.random.rand(3, 2)) is None
    assert macro_pr_auc(np.zeros((3, 2)), np.random.rand(3, 2)) is None


def test_a_score_that_knows_nothing_scores_chance():
    true_NK, _ = arrays()
    constant = np.full(true_NK.shape, 0.5)
    assert macro_roc_auc(true_NK, constant) == pytest.approx(0.5)
    assert macro_pr_auc(true_NK, constant) == pytest.approx(true_NK.mean(axis=0).mean())


@pytest.mark.parametrize(
    ("true_NK", "score_NK", "message"),
    [
        (TRUE, SCORE[:, :1], "differ in shape"),
        (TRUE[:, 0], SCORE[:, 0], "expected .N songs, K tags."),
        (np.zeros((0, 2)), np.zeros((0, 2)), "neither of them 0"),
        (TRUE, np.where(SCORE == 0.7, np.nan, SCORE), "not finite, the first at song 1, tag 1"),
        (TRUE, np.where(SCORE == 0.3, np.inf, SCORE), "not finite, the first at song 2, tag 0"),
        (np.array([[None, 1], [0, 1]], dtype=object), SCORE[:2], "not finite|not an array of numbers"),
        (np.array([["a", "b"]]), SCORE[:1], "not an array of numbers"),
        (TRUE * 0.5, SCORE, "0 or 1; song 0, tag 0 has 0.5"),
    ],
)
@pytest.mark.parametrize("metric", [macro_roc_auc, macro_pr_auc])
def test_bad_arrays_are_refused(metric, true_NK, score_NK, message):
    with pytest.raises(ValueError, match=message):
        metric(true_NK, score_NK)


def test_accuracy_needs_one_tag_per_song():
    with pytest.raises(ValueError, match="song 2 has 2"):
        accuracy(TRUE[[0, 1, 2]], SCORE[[0, 1, 2]])


def test_score_of_a_mixed_vocabulary():
    vocabulary = Vocabulary((Tag("rock"), Tag("acoustic", "regress"), Tag("jazz"), Tag("never")))
    acoustic = np.array([[0.0], [0.2], [0.9], [1.0]])
    error = np.array([[0.1], [-0.1], [0.1], [-0.1]])
    true_NK = np.hstack([TRUE[:, :1], acoustic, TRUE[:, 1:], np.zeros((4, 1))])
    score_NK = np.hstack([SCORE[:, :1], acoustic + error, SCORE[:, 1:], np.ones((4, 1))])
    values = score(true_NK, score_NK, vocabulary)
    assert values["roc_auc"] == pytest.approx(0.75)
    assert values["pr_auc"] == pytest.approx((1 + 2 / 3) / 2)
    assert values["rmse"] == pytest.approx(0.1)
    assert values["accuracy"] is None
    assert values["unscored_tags"] == ["never"]


def test_score_of_an_exclusive_vocabulary():
    vocabulary = Vocabulary.of_classes(["rock", "jazz"], exclusive=True)
    values = score(np.eye(2)[[0, 1, 0]], np.array([[0.6, 0.4], [0.3, 0.7], [0.2, 0.8]]), vocabulary)
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["rmse"] is None
    assert values["unscored_tags"] == []


def test_score_of_regress_tags_alone_has_no_auc():
    values = score(np.array([[0.5]]), np.array([[0.25]]), Vocabulary((Tag("acoustic", "regress"),)))
    assert values == {"roc_auc": None, "pr_auc": None, "rmse": 0.25, "accuracy": None, "unscored_tags": []}


def test_score_refuses_another_vocabulary():
    with pytest.raises(ValueError, match="2 tags, the vocabulary has 3"):
        score(TRUE, SCORE, Vocabulary.of_classes(["a", "b", "c"]))


def test_micro_metrics_and_f1_equal_scikit_learn():
    true_NK, score_NK = arrays()
    predicted_NK = score_NK >= 0.6
    assert micro_roc_auc(true_NK, score_NK) == pytest.approx(roc_auc_score(true_NK, score_NK, average="micro"))
    expected = average_precision_score(true_NK, score_NK, average="micro")
    assert micro_pr_auc(true_NK, score_NK) == pytest.approx(expected)
    for average, found in (("macro", macro_f1), ("micro", micro_f1)):
        assert found(true_NK, score_NK, 0.6) == pytest.approx(f1_score(true_NK, predicted_NK, average=average))
    threshold_K = np.linspace(0.3, 0.8, 7)
    expected = f1_score(true_NK, score_NK >= threshold_K, average="macro")
    assert macro_f1(true_NK, score_NK, threshold_K) == pytest.approx(expected)
    by_tag = [average_precision_score(true_NK[:, k], score_NK[:, k]) for k in range(7)]
    np.testing.assert_allclose(pr_auc_by_tag(true_NK, score_NK), by_tag)


def test_accuracy_equals_scikit_learn():
    rng = np.random.default_rng(0)
    true_N, score_NK = rng.integers(0, 5, 200), rng.random((200, 5))
    assert accuracy(np.eye(5)[true_N], score_NK) == accuracy_score(true_N, score_NK.argmax(axis=1))


def test_thresholds_are_the_best_points_of_scikit_learns_curves():
    true_NK, score_NK = arrays()
    found_K = best_thresholds(true_NK, score_NK)
    for k in range(7):
        precision, recall, thresholds = precision_recall_curve(true_NK[:, k], score_NK[:, k])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = f1.max()
        assert f1_score(true_NK[:, k], score_NK[:, k] >= found_K[k]) == pytest.approx(best)
        assert found_K[k] in thresholds
        assert found_K[k] == thresholds[np.isclose(f1[:-1], best)].max()


def test_a_tag_that_no_validation_song_has_is_never_predicted():
    true_NK, score_NK = arrays()
    true_NK[:, 2] = 0
    threshold_K = best_thresholds(true_NK, score_NK)
    assert threshold_K[2] == np.inf
    assert np.isnan(f1_by_tag(true_NK, score_NK, threshold_K)[2])
    assert macro_f1(true_NK, score_NK, threshold_K) == pytest.approx(
        np.mean([f1_score(true_NK[:, k], score_NK[:, k] >= threshold_K[k]) for k in range(7) if k != 2])
    )
    assert micro_f1(np.zeros((3, 2)), np.zeros((3, 2))) is None


@pytest.mark.parametrize("threshold", [np.array([0.5, 0.5]), float("nan")])
def test_a_threshold_that_fits_no_tags_is_refused(threshold):
    with pytest.raises(ValueError, match="one for each of the 7 tags"):
        macro_f1(*arrays(), threshold)
