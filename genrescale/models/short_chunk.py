"""``short_chunk``: the short-chunk CNN of Won et al. 2020.

wave_BT -> dB mel of 128 bins (B, 128, N) -> one-channel batch norm -> seven layers of 3x3 convolution, BN, ReLU and
max-pool 2, 128-128-256-256-256-256-512 channels -> one bin -> maximum over time -> dense 512, BN, ReLU -> dropout ->
dense -> logits_BK. Published input: 3.69 s (59,049 samples, 231 frames), which leaves one frame.

Difference from the paper: logits, no sigmoid. Shortest input: 2.03 s (128 frames).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models.parts.backend import check_whole, set_norm_momentum
from genrescale.models.parts.blocks import CnnDials, ConvPool2d, NormedMelTagger
from genrescale.models.parts.frontend import WON_MEL_128

CHANNELS = (128, 128, 256, 256, 256, 256, 512)
POOL = 2


@dataclass(frozen=True, kw_only=True)
class ShortChunkDials(CnnDials):
    """CnnDials; ``width`` also multiplies the units of the dense layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scaled(*CHANNELS)

    @property
    def min_input_len(self) -> int:
        # pools drop remainders, so the fewest frames are the product of the pools
        return WON_MEL_128.min_samples(math.prod([POOL] * len(CHANNELS)))


class ShortChunk(NormedMelTagger):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``.

    Dials: ShortChunkDials.
    """

    Dials = ShortChunkDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        checked = ShortChunkDials(**dials)
        super().__init__(WON_MEL_128, checked.min_input_len)
        self.dials = checked
        check_whole(num_tags=num_tags)
        channels = self.dials.scaled(*CHANNELS)
        self.layer1 = ConvPool2d(1, channels[0], POOL)
        self.layer2 = ConvPool2d(channels[0], channels[1], POOL)
        self.layer3 = ConvPool2d(channels[1], channels[2], POOL)
        self.layer4 = ConvPool2d(channels[2], channels[3], POOL)
        self.layer5 = ConvPool2d(channels[3], channels[4], POOL)
        self.layer6 = ConvPool2d(channels[4], channels[5], POOL)
        self.layer7 = ConvPool2d(channels[5], channels[6], POOL)
        self.dense1 = nn.Linear(channels[6], channels[6])
        self.bn = nn.BatchNorm1d(channels[6])
        self.dropout = nn.Dropout(self.dials.dropout)
        self.dense2 = nn.Linear(channels[6], num_tags)
        set_norm_momentum(self, self.dials.norm_momentum)

    def forward(self, wave_BT: Tensor) -> Tensor:
        h_BCFN = self.image(wave_BT)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4, self.layer5, self.layer6, self.layer7):
            h_BCFN = layer(h_BCFN)
        units_BC = F.relu(self.bn(self.dense1(h_BCFN.amax(dim=(2, 3)))))
        return self.dense2(self.dropout(units_BC))
