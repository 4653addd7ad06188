"""What is said tag by tag: frequency classes, confusions, popularity, and tags that exclude each other."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.scored_runs import GENRES, multi_label, single_label
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.metrics import confusion_matrix as scikit_confusion

from genrescale.audio import Tag, Vocabulary
from genrescale.metrics.by_tag import (
    class_scores,
    confusion_matrix,
    exclusive_pairs,
    frequency_classes,
    prevalence_thresholds,
    tag_rows,
)


def test_head_middle_and_tail_are_divided_as_in_mediaeval():
    assert frequency_classes(np.array([551, 550, 201, 200, 0])) == ["head", "middle", "middle", "tail", "tail"]
    assert frequency_classes(np.array([5, 4, 2]), head_above=4, tail_up_to=2) == ["head", "middle", "tail"]
    with pytest.raises(ValueError, match="tail_up_to=9"):
        frequency_classes(np.array([1]), head_above=4, tail_up_to=9)


def test_class_scores_are_macro_means_of_their_tags():
    table = multi_label()
    classes = ["tail"] * 5 + ["head"] * 7
    head, middle, tail = class_scores(table.true_NK, table.score_NK, classes)
    assert (head.num_tags, middle.num_tags, tail.num_tags) == (7, 0, 5)
    assert (middle.roc_auc, middle.pr_auc) == (None, None)
    assert tail.pr_auc == pytest.approx(average_precision_score(table.true_NK[:, :5], table.score_NK[:, :5]))
    assert head.roc_auc == pytest.approx(roc_auc_score(table.true_NK[:, 5:], table.score_NK[:, 5:]))
    with pytest.raises(ValueError, match="for each of 12 tags"):
        class_scores(table.true_NK, table.score_NK, classes[1:])


def test_the_confusion_matrix_is_scikit_learns():
    table = single_label()
    expected = scikit_confusion(table.true_NK.argmax(axis=1), table.score_NK.argmax(axis=1), labels=range(len(GENRES)))
    np.testing.assert_array_equal(confusion_matrix(table.true_NK, table.score_NK), expected)
    with pytest.raises(ValueError, match="exactly one tag per song"):
        confusion_matrix(np.ones((3, 2)), np.ones((3, 2)))


def test_a_tag_row_says_how_often_and_how_well_a_tag_is_predicted():
    table = multi_label()
    vocabulary = Vocabulary.of_classes([f"mood{i:02}" for i in range(12)])
    row = tag_rows(table.true_NK, table.score_NK, vocabulary, 0.3)[7]
    true_N, score_N = table.true_NK[:, 7], table.score_NK[:, 7]
    assert (row.name, row.support, row.rmse) == ("mood07", int(true_N.sum()), None)
    assert row.prevalence == pytest.approx(true_N.mean())
    assert row.popularity == pytest.approx(score_N.mean())
    assert row.predicted == pytest.approx((score_N >= 0.3).mean())
    assert row.f1 == pytest.approx(f1_score(true_N, score_N >= 0.3))
    assert row.pr_auc == pytest.approx(average_precision_score(true_N, score_N))


def test_of_exclusive_tags_the_highest_is_predicted():
    table, vocabulary = single_label(), Vocabulary.of_classes(GENRES, exclusive=True)
    expected = f1_score(table.true_NK.argmax(axis=1), table.score_NK.argmax(axis=1), average=None)  # pyright: ignore[reportArgumentType]
    rows = tag_rows(table.true_NK, table.score_NK, vocabulary)
    np.testing.assert_allclose([row.f1 or 0 for row in rows], expected)
    assert sum(row.predicted or 0 for row in rows) == pytest.approx(1)


def test_a_tag_without_songs_and_a_regress_tag_have_no_curves():
    vocabulary = Vocabulary((Tag("energy", "regress"), Tag("polka")))
    true_NK, score_NK = np.array([[0.5, 0], [0.9, 0]]), np.array([[0.4, 0.2], [0.8, 0.4]])
    energy, polka = tag_rows(true_NK, score_NK, vocabulary)
    assert energy.rmse == pytest.approx(0.1)
    assert (energy.support, energy.predicted, energy.roc_auc, energy.f1) == (None, None, None, None)
    assert (polka.support, polka.roc_auc, polka.pr_auc, polka.f1, polka.rmse) == (0, None, None, None, None)
    assert polka.popularity == pytest.approx(0.3)


def test_prevalence_thresholds_predict_as_many_songs_as_there_are():
    table = multi_label()
    said_NK = table.score_NK >= prevalence_thresholds(table.true_NK, table.score_NK)
    np.testing.assert_array_equal(said_NK.sum(axis=0), table.true_NK.sum(axis=0))
    assert prevalence_thresholds(np.zeros((3, 1)), np.ones((3, 1)))[0] == np.inf


def test_exclusive_tags_that_are_predicted_together_are_found():
    """Baroque and classic never meet (100 songs each of 400); piano meets both; polka is too rare to tell."""
    names = ["baroque", "classic", "piano", "polka"]
    true_NK = np.zeros((400, 4))
    true_NK[:100, 0], true_NK[100:200, 1], true_NK[50:150, 2], true_NK[300:302, 3] = 1, 1, 1, 1
    said_NK = true_NK.astype(bool)
    said_NK[90:130, :2] = True
    (pair,) = exclusive_pairs(true_NK, said_NK, names)
    assert (pair.first, pair.second, pair.together, pair.expected, pair.predicted) == ("baroque", "classic", 0, 25, 40)
    assert exclusive_pairs(true_NK, true_NK, names) == [], "a model that is right predicts no such pair"
    true_NK[:6, 1] = 1
    assert exclusive_pairs(true_NK, said_NK, names) == [], "six together are more than a tenth of what chance gives"
    assert len(exclusive_pairs(true_NK, said_NK, names, rare=0.3)) == 1
    with pytest.raises(ValueError, match="compare the scores with a threshold"):
        exclusive_pairs(true_NK, true_NK * 0.7, names)
