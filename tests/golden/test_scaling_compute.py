"""Hoffmann et al. 2022 ("Chinchilla"): its parametric form is recovered from its own points, and SciPy agrees."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from genrescale.scaling.compute import (
    ComputePoint,
    clip_cost,
    disagreement,
    frontier,
    isoflops,
    parametric_fit,
)
from genrescale.scaling.robust import huber

# Equation 10 of the paper: L(N, D) = 1.69 + 406.4 / N^0.34 + 410.7 / D^0.28, at 6 N operations a token
E, A, B, ALPHA, BETA = 1.69, 406.4, 410.7, 0.34, 0.28


def _points(noise: float = 0.0) -> list[ComputePoint]:
    """Seven model sizes around the best one at each of six budgets."""
    rng, points = np.random.default_rng(0), []
    for flops in np.geomspace(1e18, 1e21, 6):
        for params in np.geomspace(0.2, 5, 7) * 0.6 * (flops / 6) ** 0.45:
            tokens = flops / (6 * params)
            loss = E + A * params**-ALPHA + B * tokens**-BETA
            points.append(ComputePoint(params, tokens, 6 * params, float(loss * np.exp(noise * rng.normal()))))
    return points


def test_approach_3_recovers_the_published_form() -> None:
    fit = parametric_fit(_points())
    assert (fit.e, fit.a, fit.b, fit.alpha, fit.beta) == pytest.approx((E, A, B, ALPHA, BETA), rel=1e-3)
    assert fit.unsupported == ""
    assert fit.predict(70e9, 1.4e12) == pytest.approx(1.9366, abs=1e-3)  # Chinchilla itself


def test_approach_3_says_the_best_size_of_the_papers_closed_form() -> None:
    """Equation 4: N_opt = G (C / 6)^a, G = (alpha A / (beta B))^(1 / (alpha + beta)), a = beta / (alpha + beta)."""
    points = _points()
    fit, cost = parametric_fit(points), clip_cost(points)
    assert (cost.k, cost.gamma) == pytest.approx((6, 1))
    power = BETA / (ALPHA + BETA)
    assert fit.exponent(cost) == pytest.approx(power, abs=1e-3)
    best = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA)) * (1e20 / 6) ** power
    assert fit.best_params(1e20, cost) == pytest.approx(best, rel=1e-2)


def test_the_best_size_is_the_lowest_error_of_its_budget_also_where_a_clip_costs_no_multiple_of_n() -> None:
    points = [
        ComputePoint(n, d, 40 * n**0.7, float(E + A * n**-ALPHA + B * d**-BETA))
        for n in np.geomspace(1e4, 1e7, 5)
        for d in np.geomspace(1e4, 1e7, 5)
    ]
    fit, cost = parametric_fit(points), clip_cost(points)
    assert cost.gamma == pytest.approx(0.7)
    tried = np.geomspace(1e2, 1e10, 100_001)
    errors = E + A * tried**-ALPHA + B * (1e12 / (40 * tried**0.7)) ** -BETA
    assert fit.best_params(1e12, cost) == pytest.approx(tried[errors.argmin()], rel=1e-2)


def test_approach_2_agrees_with_approach_3_on_points_without_noise() -> None:
    points = _points()
    groups = isoflops(points)
    assert [len(group.points) for group in groups] == [7] * 6
    assert frontier(groups).exponent == pytest.approx(BETA / (ALPHA + BETA), abs=2e-3)
    found = disagreement(points)
    assert found.exponent_2 == pytest.approx(found.exponent_3, abs=2e-3)
    assert found.largest_ratio < 1.05  # a parabola is no exact cut through the surface


def test_with_noise_the_two_approaches_disagree_and_say_by_how_much() -> None:
    found = disagreement(_points(noise=0.01))
    assert found.largest_ratio > 1.05
    assert len(found.best_params) == 6


def test_the_fit_is_scipys() -> None:
    points = _points(noise=0.005)
    params, tokens, losses = (np.array([getattr(p, name) for p in points]) for name in ("params", "clips", "error"))

    def residuals(theta: np.ndarray) -> np.ndarray:
        e, a, b, alpha, beta = theta
        model = np.logaddexp(np.logaddexp(e, a - alpha * np.log(params)), b - beta * np.log(tokens))
        return model - np.log(losses)

    starts = [(0.0, 6.0, 6.0, power, power) for power in (0.2, 0.5)]
    tight = {"xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14, "max_nfev": 5000}
    best = min(least_squares(residuals, s, loss="huber", f_scale=1e-3, **tight).cost for s in starts)
    fit = parametric_fit(points)
    assert huber(np.log(fit.predict(params, tokens)) - np.log(losses), 1e-3).sum() == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (_points()[:5], "at least 6 runs, got 5"),
        ([ComputePoint(1e6, d, 6e6, 2.0 + 1 / d) for d in (1, 2, 3, 4, 5, 6)], "3 different numbers of parameters"),
    ],
)
def test_runs_that_cannot_determine_five_parameters_are_refused(points: list[ComputePoint], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parametric_fit(points)


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ((3.0, 2.0), "needs 3 sizes of model, got 2"),
        ((2.0, 3.0, 2.0), "no lowest point"),
        ((4.0, 3.0, 2.5), "beside the sizes of model"),
        ((3.0, 2.0, 3.0), ""),
    ],
)
def test_a_budget_without_a_lowest_point_says_why(errors: tuple[float, ...], reason: str) -> None:
    points = [ComputePoint(10.0**i, 10.0**-i * 1e9, 10.0**i, error) for i, error in enumerate(errors, 1)]
    (group,) = isoflops(points)
    assert reason in group.unsupported
    assert (group.best_params is None) == bool(reason)
    if not reason:
        assert (group.best_params, group.error) == (pytest.approx(100), pytest.approx(2.0))


def test_one_budget_has_no_frontier() -> None:
    with pytest.raises(ValueError, match="2 budgets or more, got 1"):
        frontier(isoflops(_points()[:7]))
