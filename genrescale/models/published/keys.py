"""Tables that map module names in published checkpoints to ours, one for each architecture.

WON holds those of github.com/minzwon/sota-music-tagging-models (Won et al. 2020), by our name of the architecture. Most
names are the same on both sides. The tables still list every name, so that no array is loaded just because two names
happen to be equal. MTG_FCN is the baseline in github.com/MTG/mtg-jamendo-dataset (scripts/baseline).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

# torchaudio's window and filter bank, the batch norm of the spectrogram
_SPECTROGRAM = {
    "spec.spectrogram": "log_mel.mel.spectrogram",
    "spec.mel_scale": "log_mel.mel.mel_scale",
    "spec_bn": "spec_bn",
}


def _same(*modules: str) -> dict[str, str]:
    return {module: module for module in modules}


def _parts(layers: Iterable[int], *parts: str) -> list[str]:
    return [f"layer{layer}.{part}" for layer in layers for part in parts]


_RESIDUAL = ("conv_1", "bn_1", "conv_2", "bn_2", "conv_3", "bn_3")
_TWO_DENSE = ("dense1", "bn", "dense2")

WON: dict[str, dict[str, str]] = {
    "fcn": _SPECTROGRAM | _same(*_parts(range(1, 6), "conv", "bn"), "dense"),
    # layer5 is the GRU: its arrays belong to it directly, not to a submodule
    "crnn": _SPECTROGRAM | _same(*_parts(range(1, 5), "conv", "bn"), "layer5", "dense"),
    # layers: timbral 67 and 38 bins high, temporal 129, 65 and 33 frames long; layer1 to layer3: the middle
    "musicnn": _SPECTROGRAM
    | _same(*(f"layers.{i}.{part}" for i in range(5) for part in ("conv", "bn")))
    | _same(*_parts(range(1, 4), "conv", "bn"), *_TWO_DENSE),
    "short_chunk": _SPECTROGRAM | _same(*_parts(range(1, 8), "conv", "bn"), *_TWO_DENSE),
    "short_chunk_res": _SPECTROGRAM | _same(*_parts(range(1, 8), *_RESIDUAL), *_TWO_DENSE),
    # our convolutions and their norms are lists
    "sample_cnn": {
        **{f"layer{i}.conv": f"convs.{i - 1}" for i in range(1, 12)},
        **{f"layer{i}.bn": f"norms.{i - 1}" for i in range(1, 12)},
        "dense": "dense",
    },
}

# Won 2020's "attention" (training/model.py, class CNNSA, with the BERT layers of attention_modules.py). Files do not
# store its class token.
_BERT_PARTS = {
    "attention.output.dense": "project",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "expand",
    "output.dense": "contract",
    "output.LayerNorm": "mlp_norm",
}
_BERT_QKV = ("query", "key", "value")
_CNN_TRANSFORMER = (
    _SPECTROGRAM
    | {f"layer{i}.{part}": f"blocks.{i - 1}.{part}" for i in range(1, 8) for part in _RESIDUAL}
    | {f"encoder.layer.{i}.{part}": f"layers.{i}.{ours}" for i in range(2) for part, ours in _BERT_PARTS.items()}
    | {"pooler.dense": "pooler", "dense": "dense"}
)


def cnn_transformer_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the arrays of Won 2020's self-attention model; join query, key and value; leave out unknown names."""
    ours = {}
    for name, array in state.items():
        module, _, leaf = name.rpartition(".")
        if module in _CNN_TRANSFORMER:
            ours[f"{_CNN_TRANSFORMER[module]}.{leaf}"] = array
    for layer in range(2):
        for leaf in ("weight", "bias"):
            names = [f"encoder.layer.{layer}.attention.self.{part}.{leaf}" for part in _BERT_QKV]
            if all(name in state for name in names):
                ours[f"layers.{layer}.qkv.{leaf}"] = torch.cat([state[name] for name in names])
    return ours


MTG_FCN: dict[str, str] = {
    "bn_init": "spec_bn",
    **{f"conv_{layer}": f"layer{layer}.conv" for layer in range(1, 6)},
    **{f"bn_{layer}": f"layer{layer}.bn" for layer in range(1, 6)},
    "dense": "dense",
}
