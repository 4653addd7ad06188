"""A CNN + transformer hybrid: the self-attention tagger of Won et al. 2019, as evaluated by Won et al. 2020.

The GTZAN report's outlook (section 5.5) names the hybrid, a CNN for what is local and attention for the whole, but no
network. This one is chosen because it has published figures on the same splits as the other models here (ROC-AUC
.9077, PR-AUC .4445 on MTAT). Seven residual 3 x 3 blocks halve the frequencies down to one row and time three times;
two transformer layers read the sequence behind a class token; its output tags the clip. There are no positions:
attention sees a set of features, each of which covers 2.7 s of sound.

Shapes: B batch, T samples, F mel bins (128), N frames, M frames after the CNN (N / 8, rounded up), C channels, D width,
K tags.

Lengths: any clip of at least 257 samples; the published models took 15 s (240,000 samples: 118 frames after the CNN).
``checkpoint_activations`` computes the transformer's layers twice instead of keeping their activations.

As the released code: layers normalise after each sum (BERT, epsilon 1e-12), and the class token is no parameter but 256
fixed numbers, drawn by numpy's generator with seed 0. Differs: logits come out, not probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models.backend import check_length, check_whole
from genrescale.models.frontend import WON_MEL_128, RawLogMel
from genrescale.models.transformer import TransformerLayer, run_layers

# Halvings of frequency and of time, and width as a multiple of ``channels``, block by block.
STRIDES = ((2, 2), (2, 2), (2, 2), (2, 1), (2, 1), (2, 1), (2, 1))
WIDTHS = (1, 1, 2, 2, 2, 2, 2)
HIDDEN_FACTOR = 4
NORM_EPS = 1e-12


@dataclass(frozen=True, kw_only=True)
class CnnTransformerDials:
    """``channels`` of the first blocks; the transformer is twice as wide. ``layers`` and ``heads`` are its.

    ``dropout`` is on each of its branches, ``attention_dropout`` on its attention, ``head_dropout`` before the logits.
    """

    channels: int = 128
    layers: int = 2
    heads: int = 8
    dropout: float = 0.4
    attention_dropout: float = 0.5
    head_dropout: float = 0.5
    checkpoint_activations: bool = False

    def __post_init__(self) -> None:
        check_whole(channels=self.channels, layers=self.layers, heads=self.heads)
        if self.width % self.heads:
            raise ValueError(
                f"heads={self.heads} must divide the transformer's width, {self.width} (twice the channels)"
            )
        for name in ("dropout", "attention_dropout", "head_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r} must be at least 0 and below 1")

    @property
    def width(self) -> int:
        return WIDTHS[-1] * self.channels

    @property
    def min_input_len(self) -> int:
        return WON_MEL_128.min_len


class ResidualBlock(nn.Module):
    """ReLU(BN(conv3(ReLU(BN(conv3 with stride)))) + BN(conv3 with stride)), each row and column padded by one."""

    def __init__(self, before: int, after: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Conv2d(before, after, 3, stride=stride, padding=1)
        self.shortcut_norm = nn.BatchNorm2d(after)

    def forward(self, x_BCFN: Tensor) -> Tensor:
        h_BCFN = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x_BCFN)))))
        return F.relu(h_BCFN + self.shortcut_norm(self.shortcut(x_BCFN)))


class CnnTransformerTagger(nn.Module):
    """``wave_BT`` -> ``logits_BK``, for any T of at least ``dials.min_input_len``. Dials: CnnTransformerDials."""

    Dials = CnnTransformerDials
    class_token_D: Tensor

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = CnnTransformerDials(**dials)
        width = self.dials.width
        self.log_mel = RawLogMel(WON_MEL_128)
        self.spec_augment: nn.Module = nn.Identity()
        self.input_norm = nn.BatchNorm2d(1)
        channels = [1, *(times * self.dials.channels for times in WIDTHS)]
        self.blocks = nn.Sequential(
            *(ResidualBlock(*pair, stride) for pair, stride in zip(pairwise(channels), STRIDES, strict=True))
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
                dropout=self.dials.dropout,
                attention_dropout=self.dials.attention_dropout,
            )
            for _ in range(self.dials.layers)
        )
        self.pool = nn.Linear(width, width)
        self.dropout = nn.Dropout(self.dials.head_dropout)
        self.output = nn.Linear(width, num_tags)

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_length(wave_BT.shape[1], self.dials.min_input_len)
        logmel_BFN = self.spec_augment(self.log_mel(wave_BT))
        features_BDM = self.blocks(self.input_norm(logmel_BFN.unsqueeze(1))).squeeze(2)
        class_B1D = self.class_token_D.expand(len(wave_BT), 1, -1).to(features_BDM.dtype)
        tokens_BMD = torch.cat([class_B1D, features_BDM.transpose(1, 2)], dim=1)
        tokens_BMD = run_layers(self.layers, tokens_BMD, self.dials.checkpoint_activations)
        return self.output(self.dropout(torch.tanh(self.pool(tokens_BMD[:, 0]))))
