"""What a model's outputs are to its run: scores of tags, or what a pretext task measures of clips without tags.

Shapes: B clips, N songs, K tags.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from torch import Tensor

from genrescale.audio import Vocabulary
from genrescale.config.losses import PRETEXT
from genrescale.config.metrics import ROW_METRICS
from genrescale.losses import probabilities
from genrescale.metrics import score

PRETEXT_COLUMNS = ("discriminative_loss", "generative_loss", "accuracy")


class Outputs(Protocol):
    """How a loop scores: ``names`` of a score table's columns, and ``tags``, those of them that are tags."""

    names: list[str]
    tags: list[str]

    def scores(self, outputs_BK: Tensor) -> np.ndarray:
        """What the model says of each clip, float64, a column for each name."""
        ...

    def truth(self, labels_NK: np.ndarray) -> np.ndarray:
        """What the score table holds as true, a column for each name."""
        ...

    def metrics(self, true_NK: np.ndarray, score_NK: np.ndarray) -> dict[str, Any]:
        """The metrics of a result row, from whole score tables."""
        ...


class TagOutputs:
    """Probabilities of the vocabulary's tags, as ``loss`` trains them."""

    def __init__(self, vocabulary: Vocabulary, loss: str) -> None:
        self.names = self.tags = vocabulary.names
        self._vocabulary, self._loss = vocabulary, loss

    def scores(self, outputs_BK: Tensor) -> np.ndarray:
        return probabilities(outputs_BK, self._vocabulary, self._loss).double().cpu().numpy()

    def truth(self, labels_NK: np.ndarray) -> np.ndarray:
        return labels_NK

    def metrics(self, true_NK: np.ndarray, score_NK: np.ndarray) -> dict[str, Any]:
        return score(true_NK, score_NK, self._vocabulary)


class PretextOutputs:
    """The columns of a pretext task. Nothing is true of a song: NaN. No metric of tags is defined."""

    def __init__(self) -> None:
        self.names: list[str] = list(PRETEXT_COLUMNS)
        self.tags: list[str] = []

    def scores(self, outputs_BK: Tensor) -> np.ndarray:
        return outputs_BK.double().cpu().numpy()

    def truth(self, labels_NK: np.ndarray) -> np.ndarray:
        return np.full((len(labels_NK), len(self.names)), np.nan, np.float32)

    def metrics(self, true_NK: np.ndarray, score_NK: np.ndarray) -> dict[str, Any]:
        means = dict(zip(self.names, score_NK.mean(axis=0).tolist(), strict=True))
        return {**dict.fromkeys(ROW_METRICS), "unscored_tags": [], "pretext": means}


def outputs_of(loss: str, vocabulary: Vocabulary) -> Outputs:
    """What the outputs of a model are that ``loss`` trains."""
    return PretextOutputs() if loss == PRETEXT else TagOutputs(vocabulary, loss)
