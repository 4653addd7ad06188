"""What one model of a baseline learns: a tag, or all tags at once where each song has one of them. K tags, N songs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from genrescale.audio import Vocabulary

Kind = Literal["one_of", "classify", "regress"]


@dataclass(frozen=True)
class Target:
    """The columns of the labels that one model learns, and how."""

    kind: Kind
    columns: tuple[int, ...]

    def of(self, labels_NK: np.ndarray) -> np.ndarray:
        """Its columns of labels."""
        return labels_NK[:, list(self.columns)]


def joint_targets(vocabulary: Vocabulary) -> list[Target]:
    """All tags as one target where each song has one of them, else each tag alone."""
    return [Target("one_of", tuple(range(len(vocabulary))))] if vocabulary.exclusive else single_targets(vocabulary)


def single_targets(vocabulary: Vocabulary) -> list[Target]:
    """Each tag alone: whether a song has it, or how much of it."""
    return [Target("classify" if tag.kind == "classify" else "regress", (k,)) for k, tag in enumerate(vocabulary.tags)]
