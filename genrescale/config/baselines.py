"""Which baselines are trained beside the models of a sweep."""

from __future__ import annotations

from dataclasses import dataclass, field

from genrescale.config.checks import require


@dataclass
class BaselinesConfig:
    """Baselines that a sweep, or jobs/baselines.py, trains at each of its sizes. None of them needs a GPU.

    ``floor``: logistic regression on log-mel statistics of whole songs, which takes seconds. ``trees``:
    gradient-boosted trees on features of timbre, rhythm and harmony, the baseline of Pons 2018. ``embeddings``: a
    linear model on a published model's embeddings; the name of its architecture and its weights file.
    """

    floor: bool = True
    trees: bool = False
    embeddings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for model, weights in self.embeddings.items():
            require(
                bool(weights) and weights == weights.strip(),
                f"baselines.embeddings.{model}={weights!r} must be the address of a weights file",
            )
