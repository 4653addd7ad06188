"""Gradient-boosted trees, one model for each tag: the baseline of Pons 2018, Table 1.

LightGBM minimises the log loss of a classify tag and the squared error of a regress tag, and stops when that of the
validation songs no longer improves. The same seed and songs give the same trees. Shapes: N train songs, V validation
songs, M test songs, F features.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

THREADS = 1  # of a tag's model: tags are trained beside each other, one on each CPU
_OBJECTIVES = {"classify": ("binary", "binary_logloss"), "regress": ("regression", "l2")}


@dataclass(frozen=True)
class TreeDials:
    """Dials of the trees. A leaf holds at least ``min_leaf`` train songs, of few songs a twentieth of them."""

    learning_rate: float = 0.05
    leaves: int = 31
    min_leaf: int = 20
    features_share: float = 0.5
    max_rounds: int = 1000
    patience_rounds: int = 50


@dataclass(frozen=True, eq=False)
class Grown:
    """The scores (M,) of the test songs, float64 in [0, 1], and the number of trees that made them."""

    score_M: np.ndarray
    rounds: int


def grow(
    kind: str,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test_MF: np.ndarray,
    seed: int,
    dials: TreeDials | None = None,
) -> Grown:
    """Train the trees of one tag on features (N, F) and labels (N,), and score the test songs.

    ``kind`` is that of the tag. A tag that all train songs have, or none, scores that for every song, by no tree.
    """
    import lightgbm

    dials, (train_NF, true_N), (validation_VF, true_V) = dials or TreeDials(), train, validation
    if np.ptp(true_N) == 0:
        return Grown(np.full(len(test_MF), float(true_N[0])), 0)
    objective, metric = _OBJECTIVES[kind]
    settings: dict[str, Any] = {
        "objective": objective,
        "metric": metric,
        "learning_rate": dials.learning_rate,
        "num_leaves": dials.leaves,
        "min_data_in_leaf": min(dials.min_leaf, max(1, len(true_N) // 20)),
        "feature_fraction": dials.features_share,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,  # else it measures which is faster, and the order of sums follows
        "num_threads": THREADS,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(train_NF, true_N, free_raw_data=True)
    model = lightgbm.train(
        settings,
        data,
        dials.max_rounds,
        [lightgbm.Dataset(validation_VF, true_V, reference=data)],
        callbacks=[lightgbm.early_stopping(dials.patience_rounds, verbose=False)],
    )
    score_M = np.asarray(model.predict(test_MF, num_iteration=model.best_iteration, num_threads=THREADS))
    return Grown(np.clip(score_M.astype(np.float64), 0.0, 1.0), int(model.best_iteration))


def tree_science(dials: TreeDials) -> dict[str, Any]:
    """What may change the trees, beside their songs, features and seed."""
    return {"dials": asdict(dials), "library": "lightgbm"}
