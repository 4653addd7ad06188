"""A published checkpoint that is to be imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Published:
    """A published checkpoint: our name of its architecture, its dials, tags and licence.

    ``tags`` is one of PUBLISHED_TAGS, or a file: a tag in each line, or an exported model's tags.json; a model that was
    trained without tags (``ssast_pretraining``) has none. ``dials`` that the weights need are set. ``crop_s`` 0 is
    what the published weights of that architecture were trained on. ``scoring`` is Won's. ``trained_on`` and
    ``licence`` stand on the model card.
    """

    checkpoint: str
    model: str
    tags: str = ""
    dials: dict[str, Any] = field(default_factory=dict)
    crop_s: float = 0.0
    scoring: str = "spread:16"
    trained_on: str = ""
    licence: str = ""
