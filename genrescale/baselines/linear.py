"""A linear head on vectors of songs: logistic regression for classify tags, ridge regression for regress tags.

Features are standardised by the train songs. The strength of the penalty, and whether classes are weighed by their
rarity, are chosen on the validation songs: by macro PR-AUC for classify tags, also where each song has one of them,
because it moves where the accuracy of a few songs does not; by RMSE for regress tags. The choice is made on the first
CHOICE_SONGS train songs, since more of them leave the penalty less to do. Shapes: N songs, F features, K tags of a
target, S settings.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genrescale.baselines.targets import Target
from genrescale.metrics import macro_pr_auc, rmse

CHOICE_SONGS = 20_000
MAX_STEPS = 1000  # of a fit, which mostly ends after tens


@dataclass(frozen=True)
class Setting:
    """``c`` is the inverse strength of the penalty, ``balanced`` weighs classes by their rarity among train songs."""

    c: float
    balanced: bool


STRENGTHS = tuple(10.0**power for power in range(-4, 3))
SETTINGS = tuple(Setting(c, balanced) for c in STRENGTHS for balanced in (False, True))
REGRESS_SETTINGS = tuple(Setting(c, False) for c in STRENGTHS)


def settings_for(target: Target) -> tuple[Setting, ...]:
    """The settings to choose from, the strongest penalty first: of equally good ones, the first is taken."""
    return REGRESS_SETTINGS if target.kind == "regress" else SETTINGS


def standardise(train_NF: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """The train songs and others, float32, by the mean and standard deviation of each feature over the train songs."""
    mean_F, std_F = (which(train_NF, axis=0, dtype=np.float64).astype(np.float32) for which in (np.mean, np.std))
    scale_F = np.where(std_F > 0, std_F, np.float32(1.0))
    return [(part - mean_F) / scale_F for part in (train_NF, *others)]


def linear_scores(
    target: Target, train_NF: np.ndarray, true_NK: np.ndarray, others_MF: np.ndarray, setting: Setting
) -> np.ndarray:
    """Scores (M, K) of other songs, float64 in [0, 1], by the model that is fitted to the train songs.

    Features are standardised (``standardise``).
    A tag that all train songs have, or none, scores its share of them for every song.
    """
    true_Nk = target.of(true_NK)
    if target.kind != "regress" and len(np.unique(true_Nk if true_Nk.shape[1] == 1 else true_Nk.argmax(axis=1))) < 2:
        return np.tile(true_Nk.mean(axis=0, dtype=np.float64), (len(others_MF), 1))
    if target.kind == "regress":
        value_M = _ridge(train_NF, true_Nk, setting).predict(others_MF).astype(np.float64)
        return np.clip(value_M, 0.0, 1.0)[:, None]
    label_N = true_Nk[:, 0] if target.kind == "classify" else true_Nk.argmax(axis=1)
    model = _logistic(train_NF, label_N, setting)
    probability_MC = model.predict_proba(others_MF).astype(np.float64)
    if target.kind == "classify":
        return probability_MC[:, 1:]
    score_MK = np.zeros((len(others_MF), true_Nk.shape[1]))
    score_MK[:, model.classes_] = probability_MC  # classes without a train song keep 0
    return score_MK


def _ridge(train_NF: np.ndarray, true_Nk: np.ndarray, setting: Setting) -> Any:
    from sklearn.linear_model import Ridge

    return Ridge(alpha=1 / setting.c).fit(train_NF, true_Nk[:, 0])


def _logistic(train_NF: np.ndarray, label_N: np.ndarray, setting: Setting) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # a fit that has not converged after MAX_STEPS is one of the settings to choose from, like any other
        warnings.simplefilter("ignore", ConvergenceWarning)
        weights = "balanced" if setting.balanced else None
        model = LogisticRegression(C=setting.c, class_weight=weights, max_iter=MAX_STEPS)
        return model.fit(train_NF, label_N.astype(int))


def validation_scores(
    target: Target, train_NF: np.ndarray, true_NK: np.ndarray, validation_MF: np.ndarray
) -> list[np.ndarray]:
    """The scores (M, k) of the validation songs by each of ``settings_for`` the target; no test song is seen."""
    train_NF, true_NK = train_NF[:CHOICE_SONGS], true_NK[:CHOICE_SONGS]
    return [linear_scores(target, train_NF, true_NK, validation_MF, setting) for setting in settings_for(target)]


def choose(targets: Sequence[Target], scores: Sequence[Sequence[np.ndarray]], true_MK: np.ndarray) -> Setting:
    """The best setting for several targets of one kind, by the validation scores of each (targets, settings, (M, k)).

    Where no tag has both classes among the validation songs, the middle one without class weights.
    """
    settings = settings_for(targets[0])
    true_Mk = np.concatenate([target.of(true_MK) for target in targets], axis=1)
    worth = []
    for i in range(len(settings)):
        score_Mk = np.concatenate([of_target[i] for of_target in scores], axis=1)
        by_metric = -rmse(true_Mk, score_Mk) if targets[0].kind == "regress" else macro_pr_auc(true_Mk, score_Mk)
        worth.append(by_metric)
    if any(value is None for value in worth):
        return Setting(STRENGTHS[len(STRENGTHS) // 2], False)
    return settings[int(np.argmax(worth))]
