"""Many small curve fits at once: Levenberg and Marquardt's method with Huber's loss, in numpy.

A fit from many starts, and the refits of an interval's draws, are thousands of problems of a few parameters. SciPy
takes them one at a time, which is minutes; here they are one array.

Shapes: P problems, N points, K parameters.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

# parameters (P, K) -> the curve at the points (P, N) and its derivatives (P, N, K)
Curve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
ITERATIONS = 60
TOLERANCE = 1e-9  # a step that improves the loss by a smaller share ends a problem
_BLOCK = 4096  # problems
_TINY = 1e-30
_STUCK = 1e8  # damping at which no step helps


def huber(residual: np.ndarray, delta: np.ndarray | float) -> np.ndarray:
    """Huber's loss: half the square up to ``delta``, linear beyond, so that a stray run cannot bend the curve."""
    size = np.abs(residual)
    inside = np.minimum(size, delta)
    return inside * (size - 0.5 * inside)


def fit_many(
    curve: Curve,
    start_PK: np.ndarray,
    value_PN: np.ndarray,
    delta_P: np.ndarray,
    bounds_K2: np.ndarray,
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit each problem from its start. Returns the parameters (P, K), within the bounds, and the losses (P,)."""
    blocks = [slice(first, first + _BLOCK) for first in range(0, len(start_PK), _BLOCK)]  # that fit in a cache
    found = [_fit_block(curve, start_PK[b], value_PN[b], delta_P[b], bounds_K2, tolerance, iterations) for b in blocks]
    return np.concatenate([theta_PK for theta_PK, _ in found]), np.concatenate([loss_P for _, loss_P in found])


def _fit_block(
    curve: Curve,
    start_PK: np.ndarray,
    value_PN: np.ndarray,
    delta_P: np.ndarray,
    bounds_K2: np.ndarray,
    tolerance: float,
    iterations: int,
) -> tuple[np.ndarray, np.ndarray]:
    low_K, high_K = bounds_K2.T
    final_PK = np.clip(start_PK, low_K, high_K)
    final_P = np.empty(len(final_PK))
    index_P, theta_PK, delta_P1 = np.arange(len(final_PK)), final_PK, delta_P[:, None]
    curve_PN, slope_PNK = curve(theta_PK)
    residual_PN = value_PN - curve_PN
    loss_P = huber(residual_PN, delta_P1).sum(axis=1)
    damping_P = np.full(len(theta_PK), 1e-3)
    for _ in range(iterations):
        weighted_PNK = slope_PNK * (delta_P1 / np.maximum(np.abs(residual_PN), delta_P1))[:, :, None]
        step_PK = _step(slope_PNK, weighted_PNK, residual_PN, damping_P)
        tried_PK = np.clip(theta_PK + step_PK, low_K, high_K)
        curve_PN, tried_PNK = curve(tried_PK)
        tried_PN = value_PN - curve_PN
        tried_P = huber(tried_PN, delta_P1).sum(axis=1)
        gain_P = loss_P - tried_P
        better_P = gain_P > 0
        goes_on_P = np.where(better_P, gain_P > tolerance * loss_P + _TINY, damping_P < _STUCK)
        damping_P = np.where(better_P, np.maximum(damping_P / 5, 1e-12), damping_P * 4)
        theta_PK = np.where(better_P[:, None], tried_PK, theta_PK)
        slope_PNK = np.where(better_P[:, None, None], tried_PNK, slope_PNK)
        residual_PN = np.where(better_P[:, None], tried_PN, residual_PN)
        loss_P = np.where(better_P, tried_P, loss_P)
        if not goes_on_P.all():  # the others alone: a few slow problems must not cost as much as all
            ended_P = index_P[~goes_on_P]
            final_PK[ended_P], final_P[ended_P] = theta_PK[~goes_on_P], loss_P[~goes_on_P]
            index_P, theta_PK, value_PN, delta_P1, slope_PNK, residual_PN, loss_P, damping_P = (
                part[goes_on_P]
                for part in (index_P, theta_PK, value_PN, delta_P1, slope_PNK, residual_PN, loss_P, damping_P)
            )
            if not len(index_P):
                break
    final_PK[index_P], final_P[index_P] = theta_PK, loss_P
    return final_PK, final_P


def _step(
    slope_PNK: np.ndarray, weighted_PNK: np.ndarray, residual_PN: np.ndarray, damping_P: np.ndarray
) -> np.ndarray:
    """A step, damped by each parameter's own scale, so that a parameter without influence stays where it is."""
    transposed_PKN = weighted_PNK.transpose(0, 2, 1)
    normal_PKK = transposed_PKN @ slope_PNK
    gradient_PK1 = transposed_PKN @ residual_PN[:, :, None]
    diagonal_PK = np.einsum("pkk->pk", normal_PKK)
    added_PK = damping_P[:, None] * diagonal_PK + 1e-12 * diagonal_PK.max(axis=1, keepdims=True) + _TINY
    normal_PKK = normal_PKK + added_PK[:, :, None] * np.eye(normal_PKK.shape[1])
    return np.linalg.solve(normal_PKK, gradient_PK1)[:, :, 0]
