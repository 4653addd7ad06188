from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from genrescale import scaling
from genrescale.scaling import (
    LINEAR,
    LOG,
    POWER,
    SATURATING,
    Law,
    Measured,
    Seeds,
    band,
    choose,
    crossing,
    draw_curves,
    expected,
    fit_law,
    judge,
    leading_shares,
    linear_fit,
    power_law_fit,
    reach,
)


def test_line_through_exact_points_is_recovered_without_residuals() -> None:
    fit = linear_fit([100, 300, 1000], [0.5 + 1e-4 * n for n in (100, 300, 1000)])
    assert (fit.slope, fit.intercept) == pytest.approx((1e-4, 0.5))
    assert fit.predict([2000]) == pytest.approx([0.7])
    assert fit.residuals == pytest.approx([0, 0, 0], abs=1e-12)
    assert fit.r_squared == pytest.approx(1)


def test_slope_interval_and_band_equal_scipy() -> None:
    sizes, values = [100, 100, 400, 400, 1600, 1600], [0.31, 0.33, 0.38, 0.36, 0.47, 0.50]
    fit = linear_fit(sizes, values)
    line: Any = stats.linregress(sizes, values)
    half = stats.t.ppf(0.975, 4) * line.stderr
    assert fit.slope_interval() == pytest.approx((line.slope - half, line.slope + half))
    # At songs = 0 the band's half width is that of the intercept.
    band = fit.band([0])
    assert band is not None
    assert (band[1] - band[0])[0] / 2 == pytest.approx(stats.t.ppf(0.975, 4) * line.intercept_stderr)


def test_two_points_have_a_line_and_no_interval() -> None:
    fit = linear_fit([100, 1000], [0.3, 0.5])
    assert fit.slope_interval() is None
    assert fit.band([100]) is None


@pytest.mark.parametrize(
    ("sizes", "values", "message"),
    [
        ([100, 100], [0.1, 0.2], "2 different sizes"),
        ([100, 200], [0.1], "one value per size"),
        ([100, 200], [0.1, math.nan], "finite"),
        ([0, 200], [0.1, 0.2], "greater than 0"),
    ],
)
def test_impossible_fits_are_refused(sizes: list[float], values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_fit(sizes, values)


def test_crossing_is_where_both_lines_predict_the_same() -> None:
    a, b = linear_fit([100, 1000], [0.2, 0.6]), linear_fit([100, 1000], [0.3, 0.4])
    meet = crossing(a, b)
    assert meet is not None
    assert meet == pytest.approx(400)
    assert a.predict(meet) == pytest.approx(b.predict(meet))
    assert crossing(b, a) == pytest.approx(400)


def test_parallel_lines_do_not_cross_and_diverging_ones_cross_at_no_number_of_songs() -> None:
    low, high = linear_fit([100, 1000], [0.2, 0.4]), linear_fit([100, 1000], [0.3, 0.5])
    assert crossing(low, high) is None
    steeper = linear_fit([100, 1000], [0.3, 0.9])
    meet = crossing(low, steeper)
    assert meet is not None
    assert meet < 0


def test_lead_changes_ignore_ties() -> None:
    assert scaling.lead_changes([1, 2, 3], [0.1, 0.0, 0.2]) == []
    assert scaling.lead_changes([1, 2, 3, 4], [0.1, 0.0, -0.2, 0.3]) == [(1, 3), (3, 4)]
    assert scaling.lead_changes([], []) == []


@pytest.mark.parametrize(("a", "b", "c"), [(0.62, 0.9, 0.35), (0.14, -0.3, 0.5)])
def test_power_law_recovers_its_parameters_rising_and_falling(a: float, b: float, c: float) -> None:
    sizes = np.array([100, 300, 1000, 3000, 10_000])
    fit = power_law_fit(sizes, a - b * sizes**-c)
    assert (fit.a, fit.b, fit.c) == pytest.approx((a, b, c), rel=1e-4)
    assert not fit.at_limit
    assert fit.predict([1e12]) == pytest.approx(a, abs=1e-3)


def test_power_law_through_a_straight_line_says_that_it_has_no_limit() -> None:
    sizes = [100, 1000, 10_000, 100_000]
    assert power_law_fit(sizes, [0.3 + 1e-6 * n for n in sizes]).at_limit


def test_power_law_needs_four_sizes() -> None:
    with pytest.raises(ValueError, match="4 different sizes, got 3"):
        power_law_fit([100, 200, 300, 300], [0.1, 0.2, 0.3, 0.4])


def test_welch_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal([0.5] * 3 + [0.4] * 3, 0.02, size=(2000, 6))
    intervals = [scaling.welch_interval(row[:3].tolist(), row[3:].tolist()) for row in draws]
    assert np.mean([low <= 0.1 <= high for low, high in intervals]) == pytest.approx(0.95, abs=0.025)  # type: ignore[misc]


def test_one_seed_has_no_interval_and_seeds_that_agree_have_none() -> None:
    assert scaling.welch_interval([0.5], [0.4, 0.5]) is None
    assert scaling.welch_interval([0.5, 0.5], [0.25, 0.25]) is None
    assert scaling.welch_interval([0.1 + 0.2, 0.3], [0.25, 0.25]) is None  # equal but for rounding
    assert scaling.welch_interval([0.5, 0.5], [0.25, 0.26]) is not None


def test_pooled_spread_is_the_standard_deviation_within_groups() -> None:
    assert scaling.pooled_spread([[1.0, 3.0], [10.0, 12.0]]) == pytest.approx(np.std([1, 3], ddof=1))
    assert scaling.pooled_spread([[1.0], [2.0]]) is None


SIZES = (100, 400, 1600, 6400, 25_600)


def test_power_law_of_a_stray_run_is_that_of_the_others() -> None:
    sizes = np.repeat([100, 300, 1000, 3000, 10_000], 3).astype(float)
    values = 0.62 - 0.9 * sizes**-0.35 + np.tile([-0.002, 0.0, 0.002], 5)
    values[4] -= 0.1  # one run of 300 songs did not train
    fit = power_law_fit(sizes, values)
    assert fit.predict([100_000]) == pytest.approx(0.62 - 0.9 * 1e5**-0.35, abs=0.004)


def test_a_score_without_error_has_no_power_law() -> None:
    with pytest.raises(ValueError, match="needs values below 1"):
        power_law_fit([1, 2, 3, 4], [0.7, 0.8, 0.9, 1.0])


def test_a_saturating_curve_is_recovered_by_its_names() -> None:
    seeds = {n: [0.2 + 0.6 / (1 + n / 700)] for n in SIZES}
    fit = fit_law(SATURATING, seeds, higher_is_better=False)
    assert fit.parameters == pytest.approx({"E": 0.2, "A": 0.6, "h": 700}, rel=1e-4)
    assert fit.unsupported == ""
    assert fit.predict([[700, 1e9]]) == pytest.approx(np.array([[0.5, 0.2]]), abs=1e-5)


def _noisy(value_of: Callable[[int], float], sizes: Sequence[int] = SIZES, noise: float = 0.003) -> Seeds:
    rng = np.random.default_rng(3)
    return {n: (value_of(n) + noise * rng.normal(size=3)).tolist() for n in sizes}


@pytest.mark.parametrize(
    ("law", "seeds", "reason"),
    [
        (LINEAR, {100: [0.1, 0.11], 200: [0.2, 0.21]}, "a line needs 3 sizes, because one fits any two"),
        (POWER, {n: [0.1 + n / 1e4] for n in (1, 2, 3)}, "a power law needs 4 sizes, because one fits any three"),
        (LINEAR, _noisy(lambda n: 0.2 + 0.1 * math.log10(n)), "beside a straight line, more than seeds differ"),
        (LOG, _noisy(lambda n: 0.2 + 1e-5 * n), "beside the curve, more than seeds differ"),
        (LOG, _noisy(lambda n: 0.5), "its slope cannot be told from 0"),
        (POWER, {n: [0.3 if n == 100 else 0.5] for n in SIZES}, "the points do not fix its exponent"),
        (SATURATING, {n: [0.3 if n == 100 else 0.5] for n in SIZES}, "the points do not fix its half size"),
    ],
)
def test_a_law_that_the_points_do_not_support_says_why(law: Law, seeds: Seeds, reason: str) -> None:
    assert reason in fit_law(law, seeds, higher_is_better=True).unsupported


@pytest.mark.parametrize(
    ("truth", "chosen", "higher_is_better"),
    [
        (lambda n: 0.3 + 1e-5 * n, LINEAR, True),
        (lambda n: 0.3 + 0.08 * math.log10(n), LOG, True),
        (lambda n: 0.7 - 1.4 * n**-0.4, POWER, True),
        (lambda n: 0.1 + 0.5 * n**-0.4, POWER, False),
        (lambda n: 0.3 + 0.4 / (1 + n / 900), SATURATING, False),
    ],
)
def test_the_law_that_predicts_the_largest_size_is_chosen(
    truth: Callable[[int], float], chosen: Law, higher_is_better: bool
) -> None:
    families = {name: _noisy(truth, noise=0.001) for name in ("waveform", "spectrogram")}
    judged = judge(families, higher_is_better)
    found = choose(judged)
    assert found is not None
    assert found.law is chosen
    held = found.held_out["waveform"]
    assert held.size == 25_600
    assert held.measured == pytest.approx(np.mean(families["waveform"][25_600]))
    smaller = {n: values for n, values in families["waveform"].items() if n != 25_600}
    assert held.predicted == pytest.approx(float(fit_law(chosen, smaller, higher_is_better).predict(25_600)))
    spread = scaling.pooled_spread(list(families["waveform"].values()))
    assert held.spreads == pytest.approx(abs(held.error or 0) / (spread or 1))


def test_with_too_few_sizes_no_law_predicts_and_none_is_chosen() -> None:
    judged = judge({"waveform": {100: [0.1, 0.2], 200: [0.3, 0.4]}}, higher_is_better=True)
    assert [law.held_out["waveform"].unknown for law in judged] == ["needs 3 sizes"] * 2 + ["needs 4 sizes"] * 2
    assert choose(judged) is None


def _pair(noise: float, gap: float = 0.0) -> dict[str, Measured]:
    rng, families = np.random.default_rng(1), {"a": (0.2, 4e-4), "b": (0.3 + gap, 2e-4 + 2e-4 * (gap > 0))}
    return {
        name: Measured({n: (start + slope * n + noise * rng.normal(size=5)).tolist() for n in (100, 500, 1000)})
        for name, (start, slope) in families.items()
    }


def test_the_crossing_has_an_interval_that_narrows_with_less_noise() -> None:
    widths = []
    for noise in (0.01, 0.001):
        found = reach(draw_curves(LINEAR, _pair(noise), higher_is_better=True), "a", "b")
        assert found.bounded
        ((low, high),) = found.ranges
        assert low < 500 < high
        assert found.share_inside > 0.9
        widths.append(high - low)
    assert widths[1] < widths[0] / 5


def test_curves_that_may_never_cross_have_no_bound() -> None:
    found = reach(draw_curves(LINEAR, _pair(0.02, gap=0.05), higher_is_better=True), "a", "b")
    assert math.isinf(found.ranges[-1][1])
    assert not found.bounded
    assert found.share_never > 0.2


def test_an_interval_of_a_straight_law_is_students() -> None:
    """Against the textbook: prediction +- t * s * sqrt(1/N + ...), s pooled over sizes with N - sizes freedom."""
    seeds = _noisy(lambda n: 0.2 + 0.1 * math.log10(n), (100, 1000, 10_000), noise=0.01)
    curves = draw_curves(LOG, {"a": Measured(seeds)}, higher_is_better=True, draws=40_000)
    found = expected(curves, "a", 100_000)
    x = np.repeat([2.0, 3.0, 4.0], 3)
    s = scaling.pooled_spread(list(seeds.values()))
    assert s is not None
    half = stats.t.ppf(0.975, 6) * s * math.sqrt(1 / 9 + (5 - 3) ** 2 / ((x - 3) ** 2).sum())
    assert (found.value - found.low, found.high - found.value) == pytest.approx((half, half), rel=0.03)


def test_songs_widen_an_interval_but_not_where_both_families_share_them() -> None:
    plain, rng = _pair(0.002), np.random.default_rng(0)
    shared_Q = 0.02 * rng.normal(size=200)
    songs = {name: Measured(of.seeds, dict.fromkeys(of.seeds, shared_Q)) for name, of in plain.items()}
    before, after = (draw_curves(LINEAR, of, higher_is_better=True) for of in (plain, songs))
    width = [found.high - found.low for found in (expected(before, "a", 1000), expected(after, "a", 1000))]
    assert width[1] == pytest.approx(2 * 1.96 * shared_Q.std(ddof=1), rel=0.1)
    assert width[1] > 5 * width[0]
    (first,), (second,) = reach(before, "a", "b").ranges, reach(after, "a", "b").ranges
    assert second == pytest.approx(first, rel=0.05)


def test_a_lead_is_reached_later_than_the_crossing() -> None:
    curves = draw_curves(LINEAR, _pair(0.001), higher_is_better=True)
    assert reach(curves, "a", "b").at == pytest.approx((500,), rel=0.02)
    assert reach(curves, "a", "b", lead=0.01).at == pytest.approx((550,), rel=0.02)
    lower = draw_curves(LINEAR, _pair(0.001), higher_is_better=False)
    assert reach(lower, "a", "b", lead=0.01).at == pytest.approx((450,), rel=0.02)  # up to there


def test_the_probability_of_leading_follows_the_raw_means() -> None:
    shares = leading_shares(_pair(0.01), higher_is_better=True)
    assert list(shares) == [100, 500, 1000]
    assert shares[100]["b"] > 0.99
    assert 0.1 < shares[500]["a"] < 0.9
    assert shares[1000]["a"] > 0.99
    assert all(sum(of.values()) == pytest.approx(1) for of in shares.values())
    assert leading_shares(_pair(0.01), higher_is_better=False)[100]["a"] > 0.99


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [
        ({1: [0.1], 2: [0.2]}, "each size has one seed only"),
        ({1: [0.1, 0.1], 2: [0.2, 0.2]}, "seeds agree to the last digit"),
    ],
)
def test_seeds_that_tell_no_spread_have_no_draws(seeds: Seeds, reason: str) -> None:
    with pytest.raises(ValueError, match=f"waveform: .*{reason}"):
        draw_curves(LINEAR, {"waveform": Measured(seeds)}, higher_is_better=True)


def test_a_size_with_one_seed_takes_the_spread_of_the_others() -> None:
    seeds = {100: [0.30, 0.32, 0.31], 1000: [0.40, 0.42, 0.41], 10_000: [0.51]}
    curves = draw_curves(LOG, {"a": Measured(seeds)}, higher_is_better=True)
    low_M, high_M = band(curves, "a", [100, 10_000])
    assert high_M[1] - low_M[1] > high_M[0] - low_M[0]


@pytest.mark.parametrize(
    ("songs", "message"),
    [
        ({100: np.zeros(5)}, "for every size"),
        ({100: np.zeros(5), 200: np.zeros(6)}, "same number of resamples"),
    ],
)
def test_deviations_over_songs_are_those_of_every_size(songs: dict[int, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Measured({100: [0.1], 200: [0.2]}, songs)
