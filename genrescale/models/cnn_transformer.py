"""``cnn_transformer``: the self-attention tagger of Won et al. 2019, as evaluated by Won et al. 2020.

The GTZAN report (section 5.5) proposes a hybrid of a CNN for local structure and attention for global structure, but
gives no network. This one has published figures on the same splits as our other models (ROC-AUC .9077, PR-AUC .4445 on
MTAT). Seven residual 3x3 blocks reduce frequency to one row, and halve time three times. Two transformer layers process
the sequence after a class token, whose output gives the logits. There are no position embeddings: attention sees a set
of features, each with a receptive field of 2.7 s.

Shapes: B batch, T samples, M frames after the CNN (an eighth of the spectrogram's, rounded up), D width, K tags.

Lengths: any clip of at least 257 samples. The published models took 15 s (240,000 samples: 118 frames after the CNN).
``checkpoint_activations`` recomputes the transformer's activations instead of storing them.

As in the released code, layers are post-norm (BERT, epsilon 1e-12), and the class token is not learned: it is 256 fixed
numbers, drawn by numpy's generator with seed 0. Difference from it: logits, not probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genrescale.models.parts.backend import check_whole, set_norm_momentum
from genrescale.models.parts.blocks import CnnDials, NormedMelTagger, ResidualBlock2d
from genrescale.models.parts.frontend import WON_MEL_128
from genrescale.models.parts.transformer import TransformerLayer, run_layers

CHANNELS = (128, 128, 256, 256, 256, 256, 256)
# (frequency, time) of each block
STRIDES = ((2, 2), (2, 2), (2, 2), (2, 1), (2, 1), (2, 1), (2, 1))
HIDDEN_FACTOR = 4
NORM_EPS = 1e-12


@dataclass(frozen=True, kw_only=True)
class CnnTransformerDials(CnnDials):
    """CnnDials and those of the transformer: ``layers``, ``heads`` and two dropout rates.

    The transformer is as wide as the last block. ``transformer_dropout`` applies to each of its branches,
    ``attention_dropout`` to its attention weights.
    """

    layers: int = 2
    heads: int = 8
    transformer_dropout: float = 0.4
    attention_dropout: float = 0.5
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(layers=self.layers, heads=self.heads)
        if self.attention_width % self.heads:
            raise ValueError(f"heads={self.heads} must divide the transformer's width, {self.attention_width}")
        for name in ("transformer_dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must be at least 0 and below 1")

    @property
    def attention_width(self) -> int:
        return self.scaled(*CHANNELS)[-1]

    @property
    def min_input_len(self) -> int:
        return WON_MEL_128.min_len


class CnnTransformer(NormedMelTagger):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``.

    Dials: CnnTransformerDials.
    """

    Dials = CnnTransformerDials
    class_token_D: Tensor

    def __init__(self, num_tags: int, **dials: Any) -> None:
        self.dials = CnnTransformerDials(**dials)
        super().__init__(WON_MEL_128, self.dials.min_input_len)
        check_whole(num_tags=num_tags)
        channels, width = self.dials.scaled(*CHANNELS), self.dials.attention_width
        before = [1, *channels[:-1]]
        self.blocks = nn.Sequential(
            *(ResidualBlock2d(*block) for block in zip(before, channels, STRIDES, strict=True)),
        )
        token_D = np.random.RandomState(0).random_sample(width).astype(np.float32)
        self.register_buffer("class_token_D", torch.from_numpy(token_D), persistent=False)
        self.layers = nn.ModuleList(
            TransformerLayer(
                width,
                self.dials.heads,
                HIDDEN_FACTOR * width,
                norm_first=False,
                norm_eps=NORM_EPS,
                dropout=self.dials.transformer_dropout,
                attention_dropout=self.dials.attention_dropout,
            )
            for _ in range(self.dials.layers)
        )
        self.pooler = nn.Linear(width, width)
        self.dropout = nn.Dropout(self.dials.dropout)
        self.dense = nn.Linear(width, num_tags)
        set_norm_momentum(self, self.dials.norm_momentum)

    def forward(self, wave_BT: Tensor) -> Tensor:
        features_BDM = self.blocks(self.image(wave_BT)).squeeze(2)
        class_B1D = self.class_token_D.expand(len(wave_BT), 1, -1).to(features_BDM.dtype)
        tokens_BMD = torch.cat([class_B1D, features_BDM.transpose(1, 2)], dim=1)
        tokens_BMD = run_layers(self.layers, tokens_BMD, self.dials.checkpoint_activations)
        return self.dense(self.dropout(torch.tanh(self.pooler(tokens_BMD[:, 0]))))
