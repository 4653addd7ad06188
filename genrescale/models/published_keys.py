"""Names of modules in published checkpoints -> ours, an explicit table for each architecture.

WON is of github.com/minzwon/sota-music-tagging-models (Won et al. 2020), by our name of the architecture. Most of our
names are theirs; the tables still name every one, so that nothing is loaded because two names happen to be equal.
MTG_FCN is of the baseline in github.com/MTG/mtg-jamendo-dataset (scripts/baseline).
"""

from __future__ import annotations

from collections.abc import Iterable

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
    # layer5 is the GRU: its arrays have no module of their own
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

MTG_FCN: dict[str, str] = {
    "bn_init": "spec_bn",
    **{f"conv_{layer}": f"layer{layer}.conv" for layer in range(1, 6)},
    **{f"bn_{layer}": f"layer{layer}.bn" for layer in range(1, 6)},
    "dense": "dense",
}
