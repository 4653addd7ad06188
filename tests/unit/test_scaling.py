from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from genrescale import scaling
from genrescale.scaling import bootstrap_crossing, crossing, linear_fit, power_law_fit


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


def _seeds(values_by_size: dict[int, float], noise: float, seed: int) -> dict[int, list[float]]:
    rng = np.random.default_rng(seed)
    return {n: (value + rng.normal(0, noise, 5)).tolist() for n, value in values_by_size.items()}


def test_bootstrapped_crossing_holds_the_true_one_and_narrows_with_less_noise() -> None:
    sizes = (100, 500, 1000)
    true = [{n: 0.2 + 4e-4 * n for n in sizes}, {n: 0.3 + 2e-4 * n for n in sizes}]
    widths = []
    for noise in (0.02, 0.002):
        found = bootstrap_crossing(_seeds(true[0], noise, 1), _seeds(true[1], noise, 2))
        assert found is not None
        assert found.low < 500 < found.high
        assert found.share_inside > 0.9
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 3


def test_lines_that_may_never_cross_have_an_unbounded_interval() -> None:
    same = {n: 0.3 + 2e-4 * n for n in (100, 500, 1000)}
    found = bootstrap_crossing(_seeds(same, 0.02, 1), _seeds({n: v + 0.05 for n, v in same.items()}, 0.02, 2))
    assert found is not None
    assert math.isinf(found.high)
    assert found.share_inside < 0.5


def test_a_size_with_one_seed_has_no_bootstrapped_crossing() -> None:
    assert bootstrap_crossing({100: [0.1], 200: [0.2, 0.3]}, {100: [0.1, 0.2], 200: [0.2, 0.3]}) is None
