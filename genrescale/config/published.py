"""A published checkpoint that is to be imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Published:
    """A published checkpoint: our name of its architecture, its dials, tags and licence.

    ``tags`` is one of PUBLISHED_TAGS, or a file: a tag in each line, or an exported model's tags.json. It is empty for
    a model that was trained without tags (``ssast_pretraining``). Dials that the weights need are set automatically.
    ``crop_s`` 0 means the window length of the architecture's published weights. ``scoring`` defaults to Won's.
    ``trained_on`` and ``licence`` appear on the model card.
    """

    checkpoint: str
    model: str
    tags: str = ""
    dials: dict[str, Any] = field(default_factory=dict)
    crop_s: float = 0.0
    scoring: str = "spread:16"
    trained_on: str = ""
    licence: str = ""
