"""Weighted metrics against scikit-learn's sample_weight; intervals and tests against worlds whose truth is known."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import binomtest, kstest, norm
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, mean_squared_error, roc_auc_score

from genrescale.config.metrics import SCORE_METRICS
from genrescale.metrics import accuracy, macro_f1, macro_pr_auc, macro_roc_auc, micro_f1, micro_pr_auc, rmse
from genrescale.metrics.bootstrap import bootstrap_interval, paired_test
from genrescale.metrics.weighted import weighted_metric


def arrays(num_songs: int = 150, num_tags: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores rounded to one digit: most songs share theirs with others."""
    rng = np.random.default_rng(seed)
    true_NK = (rng.random((num_songs, num_tags)) < np.linspace(0.1, 0.9, num_tags)).astype(float)
    return true_NK, np.round(0.3 * true_NK + 0.7 * rng.random((num_songs, num_tags)), 1)


SCIKIT_LEARN = {
    "roc_auc": lambda t, s, w: roc_auc_score(t, s, sample_weight=w),
    "micro_roc_auc": lambda t, s, w: roc_auc_score(t, s, average="micro", sample_weight=w),
    "pr_auc": lambda t, s, w: average_precision_score(t, s, sample_weight=w),
    "micro_pr_auc": lambda t, s, w: average_precision_score(t, s, average="micro", sample_weight=w),
    "f1": lambda t, s, w: f1_score(t, s >= 0.5, average="macro", sample_weight=w),
    "micro_f1": lambda t, s, w: f1_score(t, s >= 0.5, average="micro", sample_weight=w),
    "rmse": lambda t, s, w: mean_squared_error(t, s, sample_weight=w) ** 0.5,
    "accuracy": lambda t, s, w: accuracy_score(t.argmax(1), s.argmax(1), sample_weight=w),
}


@pytest.mark.parametrize("metric", SCORE_METRICS)
def test_every_weighted_metric_is_scikit_learns_ties_included(metric: str):
    true_NK, score_NK = arrays()
    if metric == "accuracy":
        true_NK = np.eye(6)[np.random.default_rng(3).integers(0, 6, 150)]
    rng = np.random.default_rng(1)
    weight_RN = np.concatenate([rng.integers(0, 4, (4, 150)).astype(float), rng.random((2, 150)), np.ones((1, 150))])
    parts = weighted_metric(metric, true_NK, score_NK)
    assert parts is not None
    expected = [SCIKIT_LEARN[metric](true_NK, score_NK, weight_N) for weight_N in weight_RN]
    np.testing.assert_allclose(parts(weight_RN).mean(axis=1), expected, rtol=0, atol=1e-12)


def test_many_blocks_of_resamples_are_as_one(monkeypatch: pytest.MonkeyPatch):
    true_NK, score_NK = arrays()
    whole = [bootstrap_interval(metric, true_NK, score_NK, resamples=40) for metric in ("roc_auc", "micro_pr_auc")]
    tests = paired_test("pr_auc", true_NK, score_NK, score_NK[:, ::-1], resamples=40)
    monkeypatch.setattr("genrescale.metrics.weighted._BLOCK", 500)
    monkeypatch.setattr("genrescale.metrics.bootstrap._BLOCK", 1000)
    parts = [bootstrap_interval(metric, true_NK, score_NK, resamples=40) for metric in ("roc_auc", "micro_pr_auc")]
    assert parts == whole
    assert paired_test("pr_auc", true_NK, score_NK, score_NK[:, ::-1], resamples=40) == tests


def test_the_value_of_an_interval_is_the_metric():
    true_NK, score_NK = arrays()
    one_hot_NK = np.eye(6)[np.arange(150) % 6]
    functions = {
        "roc_auc": macro_roc_auc, "pr_auc": macro_pr_auc, "f1": macro_f1, "micro_f1": micro_f1,
        "micro_pr_auc": micro_pr_auc, "rmse": rmse, "accuracy": accuracy,
    }  # fmt: skip
    for metric, function in functions.items():
        labels_NK = one_hot_NK if metric == "accuracy" else true_NK
        found = bootstrap_interval(metric, labels_NK, score_NK, resamples=20)
        assert found is not None
        assert found.value == pytest.approx(function(labels_NK, score_NK), abs=1e-12), metric
        assert found.low < found.value < found.high


def test_a_bootstrap_interval_is_that_of_resampled_songs():
    """Percentiles of scikit-learn's values over songs drawn with another generator: the same within noise."""
    true_NK, score_NK = arrays(num_songs=400, num_tags=2)
    found, basic = (
        bootstrap_interval("roc_auc", true_NK, score_NK, resamples=2000, method=method)
        for method in ("percentile", "basic")
    )
    rng = np.random.default_rng(77)
    draws = (rng.integers(0, 400, 400) for _ in range(300))
    slow = np.quantile([roc_auc_score(true_NK[rows], score_NK[rows]) for rows in draws], [0.025, 0.975])
    assert found is not None
    assert basic is not None
    np.testing.assert_allclose([found.low, found.high], slow, atol=0.25 * (slow[1] - slow[0]))
    assert (basic.low, basic.high) == pytest.approx((2 * found.value - found.high, 2 * found.value - found.low))


def normal_world(rng: np.random.Generator, num_songs: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """One tag of half the songs; scores N(shift, 1) with it and N(0, 1) without: ROC-AUC is Phi(shift / sqrt 2)."""
    true_N1 = (rng.random((num_songs, 1)) < 0.5).astype(float)
    return true_N1, shift * true_N1 + rng.normal(size=(num_songs, 1))


def test_a_95_percent_interval_holds_the_truth_95_percent_of_the_time():
    rng, truth, worlds = np.random.default_rng(0), norm.cdf(1 / np.sqrt(2)), 400
    found = [bootstrap_interval("roc_auc", *normal_world(rng, 200, 1.0), seed=i, resamples=200) for i in range(worlds)]
    hits = sum(interval.low <= truth <= interval.high for interval in found if interval)
    below = sum(interval.high < truth for interval in found if interval)
    # of 400 worlds: an interval of 200 songs and 200 resamples covers 94 %
    assert binomtest(hits, worlds, 0.94).pvalue > 0.01, hits / worlds
    assert 0 < below < worlds - hits, "it misses on both sides"


def test_a_basic_interval_holds_a_macro_pr_auc_that_percentiles_miss():
    """Average precision of a few songs with a tag is too high, and higher in resamples; over many tags that adds up."""
    rng, share_K = np.random.default_rng(1), np.geomspace(0.02, 0.3, 30)

    def world(num_songs: int) -> tuple[np.ndarray, np.ndarray]:
        true_NK = (rng.random((num_songs, 30)) < share_K).astype(float)
        return true_NK, true_NK + rng.normal(size=true_NK.shape)

    truth = macro_pr_auc(*world(20_000))
    assert truth is not None
    hits = {"basic": 0, "percentile": 0}
    for i in range(30):
        arrays = world(1000)
        for method in hits:
            interval = bootstrap_interval("pr_auc", *arrays, seed=i, resamples=100, method=method)
            hits[method] += interval is not None and interval.low <= truth <= interval.high
    assert hits["basic"] >= 22
    assert hits["percentile"] <= 15


@pytest.mark.parametrize("metric", ["roc_auc", "pr_auc", "rmse"])
def test_p_values_are_uniform_where_two_runs_are_equally_good(metric: str):
    rng, p_values = np.random.default_rng(5), []
    for i in range(200):
        true_N1, score_a_N1 = normal_world(rng, 60, 1.0)
        score_b_N1 = 1.0 * true_N1 + rng.normal(size=true_N1.shape)
        test = paired_test(metric, true_N1, score_a_N1, score_b_N1, seed=i, resamples=199)
        assert test is not None
        p_values.append(test.p_value)
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert binomtest(sum(p <= 0.05 for p in p_values), 200, 0.05).pvalue > 0.01


def test_the_paired_test_sees_a_difference_that_intervals_of_each_run_would_hide():
    rng = np.random.default_rng(2)
    true_N1, score_a_N1 = normal_world(rng, 300, 1.0)
    score_b_N1 = score_a_N1 - 0.25 * true_N1  # the same run, a little worse on every song with the tag
    a, b = (bootstrap_interval("roc_auc", true_N1, s) for s in (score_a_N1, score_b_N1))
    test = paired_test("roc_auc", true_N1, score_a_N1, score_b_N1)
    assert a is not None
    assert b is not None
    assert test is not None
    assert a.low < b.high, "the intervals overlap"
    assert 0 < test.low < test.difference < test.high
    assert test.difference == pytest.approx(a.value - b.value)
    assert test.p_value < 0.01


def test_the_same_order_at_another_scale_is_no_difference():
    """Swapped scores of two scales would mix them; swapped ranks do not."""
    true_NK, score_NK = arrays()
    for metric in ("roc_auc", "micro_pr_auc"):
        test = paired_test(metric, true_NK, score_NK, np.exp(9 * score_NK) - 50, resamples=50)
        assert test is not None
        assert (test.difference, test.low, test.high, test.p_value) == (0, 0, 0, 1)
        other_NK = np.round(0.2 * true_NK + 0.8 * np.random.default_rng(4).random(true_NK.shape), 1)
        at_one_scale = paired_test(metric, true_NK, score_NK, other_NK, resamples=200)
        assert at_one_scale == paired_test(metric, true_NK, score_NK, np.exp(9 * other_NK) - 50, resamples=200)


def test_swapping_by_hand():
    """Two songs, accuracy: a is right on both, b on none. Of four swaps two leave a difference of 1."""
    true_NK = np.eye(2)
    test = paired_test("accuracy", true_NK, np.eye(2), 1 - np.eye(2), resamples=4000)
    assert test is not None
    assert test.difference == 1
    assert test.p_value == pytest.approx(0.5, abs=0.03)
    assert (test.low, test.high) == (1, 1)


def test_a_tag_that_loses_a_class_is_left_out_of_that_resample():
    """The second tag has one song of 40: e^-1 of the resamples lack it, and are the mean of the first tag alone."""
    rng = np.random.default_rng(0)
    true_NK = np.zeros((40, 2))
    true_NK[:20, 0], true_NK[7, 1] = 1, 1
    score_NK = np.column_stack([true_NK[:, 0], rng.random(40)])  # the first tag is always right
    score_NK[7, 1] = -1  # the second always wrong
    found = bootstrap_interval("roc_auc", true_NK, score_NK, resamples=2000)
    assert found is not None
    assert found.value == 0.5
    assert found.incomplete / 2000 == pytest.approx((39 / 40) ** 40, abs=0.03)
    assert (found.low, found.high) == (0.0, 0.5), "resamples lie at 0.5 and at 1"


def test_what_is_undefined_is_none_and_what_is_wrong_is_said():
    true_NK, score_NK = arrays()
    assert bootstrap_interval("roc_auc", np.ones((5, 2)), np.random.rand(5, 2)) is None
    assert paired_test("micro_f1", np.zeros((5, 2)), np.zeros((5, 2)), np.zeros((5, 2))) is None
    with pytest.raises(ValueError, match=r"'auc' is none of \['accuracy', 'roc_auc', 'pr_auc'"):
        bootstrap_interval("auc", true_NK, score_NK)
    with pytest.raises(ValueError, match=r"resamples \(0\)"):
        bootstrap_interval("rmse", true_NK, score_NK, resamples=0)
    with pytest.raises(ValueError, match="differ in shape"):
        paired_test("rmse", true_NK, score_NK, score_NK[:-1])
    with pytest.raises(ValueError, match="exactly one tag per song"):
        bootstrap_interval("accuracy", true_NK, score_NK)


def test_a_thousand_resamples_of_five_thousand_songs_and_fifty_tags_take_seconds():
    true_NK, score_NK = arrays(5000, 50)
    for metric in ("roc_auc", "pr_auc"):
        started = time.process_time()
        bootstrap_interval(metric, true_NK, score_NK, resamples=50)
        assert time.process_time() - started < 60 / 20 / 3, "a twentieth of a third of a minute"
