"""Models that map ``wave_BT`` (B clips of T samples, mono 16 kHz, float32 in [-1, 1]) to ``logits_BK`` (K tags).

The front end is inside, so every family eats the same batches.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from torch import nn

from genrescale.models.spectrogram import SpectrogramTagger
from genrescale.models.waveform import WaveformTagger

MODELS: dict[str, type[WaveformTagger] | type[SpectrogramTagger]] = {
    "waveform": WaveformTagger,
    "spectrogram": SpectrogramTagger,
}


def _check_names(name: str, dials: dict[str, Any]) -> None:
    if name not in MODELS:
        raise ValueError(f"model {name!r} is none of {sorted(MODELS)}")
    allowed = sorted(field.name for field in fields(MODELS[name].Dials))
    unknown = sorted(set(dials) - set(allowed))
    if unknown:
        raise ValueError(f"model {name!r} has no dials {unknown}; it has {allowed}")


def full_dials(name: str, dials: dict[str, Any]) -> dict[str, Any]:
    """All dials of a model with their values: ``dials`` over the defaults. Refuses what build_model refuses."""
    _check_names(name, dials)
    return asdict(MODELS[name].Dials(**dials))


def build_model(name: str, num_tags: int, **dials: Any) -> nn.Module:
    """A freshly initialised model of ``MODELS``. Raises ValueError for an unknown name, dial or value."""
    _check_names(name, dials)
    return MODELS[name](num_tags, **dials)


def min_crop_len(name: str, **dials: Any) -> int:
    """The shortest crop, in samples, that the model can take; nothing is built. Refuses what build_model refuses."""
    _check_names(name, dials)
    return MODELS[name].Dials(**dials).min_input_len


def count_parameters(model: nn.Module) -> int:
    """Trainable parameters: the convention of the papers' tables (batch-norm statistics are not among them)."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
