"""Every model of the registry with all of its layers, narrow, and an input length that it takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from genrescale.models import fixed_crop_len, min_crop_len
from genrescale.models.parts.head import head_name

# A model without an entry cannot be tested quickly.
PONS: dict[str, Any] = {"frontend_width": 0.125, "backend_filters": 8, "backend_units": 6}
MUSICNN: dict[str, Any] = {"timbral_filters": 4, "temporal_filters": 2, "backend_filters": 4, "backend_units": 8}
RECURRENT: dict[str, Any] = {"hidden": 16, "recurrent_dropout": 0.1, "frames": 0}
TINY: dict[str, dict[str, Any]] = {
    "waveform": PONS,
    "spectrogram": PONS,
    "sample_cnn": {"width": 1 / 16},
    "mtg_fcn": {"width": 1 / 16},
    "dieleman": {"first_filters": 8, "filters": 8, "units": 10, "input_len": 24_000},
    "choi_fcn": {"channels": [8, 8, 8, 8, 8], "input_len": 24_000},
    "timbre_cnn": {"backend_filters": 8, "backend_units": 10, "input_len": 12_000},
    "fcn": {"width": 1 / 16},
    "crnn": {"width": 1 / 8},
    "musicnn": MUSICNN,
    "short_chunk": {"width": 1 / 16},
    "short_chunk_res": {"width": 1 / 16},
    "mediaeval_res": {"width": 1 / 16},
    "vgg_gtzan": {"width": 1 / 8},
    "musicnn_layernorm": {"timbral_filters": 16, "temporal_filters": 8, "backend_filters": 16, "backend_units": 32},
    "rnn": RECURRENT,
    "gru": RECURRENT,
    "lstm": RECURRENT,
    "ssast": {"size": "tiny", "depth": 2, "position_frames": 96},
    "cnn_transformer": {"width": 1 / 16, "heads": 2, "transformer_dropout": 0.1, "attention_dropout": 0.1},
}


def tiny_len(name: str) -> int:
    """A length that the tiny model takes: a second where that is enough; two frames for a recurrent layer to recur."""
    if name == "crnn":
        return 2 * min_crop_len(name) + 256
    return fixed_crop_len(name, **TINY[name]) or max(min_crop_len(name, **TINY[name]), 16_000)


@torch.no_grad()
def undecided(model: nn.Module, num_tags: int) -> nn.Module:
    """The model with a small last layer: new weights on loud music give scores of 0 and 1 only."""
    head = model.get_submodule(head_name(model, num_tags))
    assert isinstance(head, nn.Linear)
    head.weight *= 0.01
    return model
