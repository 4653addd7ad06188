"""Fit a baseline to the vectors of songs: what to learn is dealt out by tag, what to choose is chosen here.

Shapes: N train songs, V validation songs, M test songs, F features, K tags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from genrescale.audio import Split
from genrescale.baselines.linear import (
    CHOICE_SONGS,
    REGRESS_SETTINGS,
    SETTINGS,
    Setting,
    choose,
    linear_scores,
    standardise,
    validation_scores,
)
from genrescale.baselines.targets import Target, joint_targets, single_targets
from genrescale.baselines.trees import Grown, TreeDials, grow
from genrescale.data.manifest import Manifest
from genrescale.training.select import RunData

Run = Callable[..., Iterator[Any]]


@dataclass(frozen=True, eq=False)
class Songs:
    """The vectors of a corpus' songs by split, at least those of a run's, and the data of the run."""

    vectors: Mapping[Split, np.ndarray]
    data: RunData
    manifest: Manifest

    @property
    def num_features(self) -> int:
        return self.vectors["train"].shape[1]

    @property
    def num_train(self) -> int:
        return len(self.data.rows["train"])

    @property
    def validation_labels_VK(self) -> np.ndarray:
        return self.manifest.labels_NK[self.data.rows["validation"]]


@dataclass(frozen=True, eq=False)
class Fitted:
    """The scores (M, K) of the test songs, float64, and what was chosen or found on the validation songs."""

    score_NK: np.ndarray
    settings: dict[str, Any]


def linear_science() -> dict[str, Any]:
    """What may change a linear head, beside its songs and features."""
    grids = {"classify": [asdict(s) for s in SETTINGS], "regress": [asdict(s) for s in REGRESS_SETTINGS]}
    return {"grids": grids, "choice_songs": CHOICE_SONGS, "by": "macro PR-AUC, RMSE"}


def fit_linear(songs: Songs, run: Run, seed: int) -> Fitted:
    """Choose the settings on the validation songs, fit the train songs with them, score the test songs.

    Test songs are given to no task that chooses. There is no chance in it: ``seed`` has no effect.
    """
    train_NF = songs.vectors["train"][: songs.num_train]
    train_NF, validation_VF, test_MF = standardise(train_NF, songs.vectors["validation"], songs.vectors["test"])
    labels_NK, true_VK = songs.data.train_labels_NK, songs.validation_labels_VK
    targets = joint_targets(songs.manifest.vocabulary)
    tried = list(run(validation_scores, targets, train_NF, labels_NK, validation_VF))
    chosen: dict[str, Setting] = {}
    for kind in dict.fromkeys(target.kind for target in targets):
        of_kind = [i for i, target in enumerate(targets) if target.kind == kind]
        chosen[kind] = choose([targets[i] for i in of_kind], [tried[i] for i in of_kind], true_VK)
    items = [(target, chosen[target.kind]) for target in targets]
    scores = run(_linear, items, train_NF, labels_NK, test_MF)
    settings = {kind: asdict(setting) for kind, setting in chosen.items()}
    return Fitted(_joined(targets, scores, len(test_MF), labels_NK.shape[1]), settings)


def _linear(
    item: tuple[Target, Setting], train_NF: np.ndarray, labels_NK: np.ndarray, test_MF: np.ndarray
) -> np.ndarray:
    return linear_scores(item[0], train_NF, labels_NK, test_MF, item[1])


def fit_trees(songs: Songs, run: Run, seed: int, dials: TreeDials) -> Fitted:
    """Grow the trees of each tag, stopped early by the validation songs, and score the test songs.

    Where each song has one tag, the scores of a song are divided by their sum.
    """
    targets = single_targets(songs.manifest.vocabulary)
    arrays = (songs.vectors["train"], songs.data.train_labels_NK, songs.vectors["validation"])
    more = (songs.validation_labels_VK, songs.vectors["test"])
    function = partial(_grow, num_train=songs.num_train, seed=seed, dials=dials)
    grown = list(run(function, targets, *arrays, *more))
    columns = [tree.score_M[:, None] for tree in grown]
    score_MK = _joined(targets, iter(columns), len(songs.vectors["test"]), len(targets))
    if songs.manifest.vocabulary.exclusive:
        score_MK = score_MK / np.maximum(score_MK.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    names = songs.manifest.vocabulary.names
    return Fitted(score_MK, {"rounds": {name: tree.rounds for name, tree in zip(names, grown, strict=True)}})


def _grow(
    target: Target,
    train_NF: np.ndarray,
    labels_NK: np.ndarray,
    validation_VF: np.ndarray,
    true_VK: np.ndarray,
    test_MF: np.ndarray,
    num_train: int,
    seed: int,
    dials: TreeDials,
) -> Grown:
    train = train_NF[:num_train], np.ascontiguousarray(target.of(labels_NK)[:, 0])
    validation = validation_VF, np.ascontiguousarray(target.of(true_VK)[:, 0])
    return grow(target.kind, train, validation, test_MF, seed, dials)


def _joined(targets: Sequence[Target], scores: Iterator[np.ndarray], num_songs: int, num_tags: int) -> np.ndarray:
    score_MK = np.zeros((num_songs, num_tags))
    for target, score_Mk in zip(targets, scores, strict=True):
        score_MK[:, list(target.columns)] = score_Mk
    return score_MK
