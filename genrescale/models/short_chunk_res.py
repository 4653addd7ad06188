"""``short_chunk_res``: the short-chunk CNN with residual connections of Won et al. 2020.

wave_BT -> dB mel of 128 bins (B, 128, N) -> one-channel batch norm -> seven residual blocks of stride 2,
128-128-256-256-256-256-512 channels -> one bin -> maximum over time -> dense 512, BN, ReLU -> dropout -> dense ->
logits_BK. Published input: 3.69 s (59,049 samples): 231 frames become 116, 58, 29, 15, 8, 4, 2.

Difference from the paper: logits, no sigmoid. Shortest input: 0.02 s (257 samples).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models.parts.backend import check_whole, set_norm_momentum
from genrescale.models.parts.blocks import CnnDials, NormedMelTagger, ResidualBlock2d
from genrescale.models.parts.frontend import WON_MEL_128

CHANNELS = (128, 128, 256, 256, 256, 256, 512)


@dataclass(frozen=True, kw_only=True)
class ShortChunkResDials(CnnDials):
    """CnnDials; ``width`` also multiplies the units of the dense layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scaled(*CHANNELS)

    @property
    def min_input_len(self) -> int:
        return WON_MEL_128.min_len


class ShortChunkRes(NormedMelTagger):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``.

    Dials: ShortChunkResDials.
    """

    Dials = ShortChunkResDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        checked = ShortChunkResDials(**dials)
        super().__init__(WON_MEL_128, checked.min_input_len)
        self.dials = checked
        check_whole(num_tags=num_tags)
        channels = self.dials.scaled(*CHANNELS)
        self.layer1 = ResidualBlock2d(1, channels[0])
        self.layer2 = ResidualBlock2d(channels[0], channels[1])
        self.layer3 = ResidualBlock2d(channels[1], channels[2])
        self.layer4 = ResidualBlock2d(channels[2], channels[3])
        self.layer5 = ResidualBlock2d(channels[3], channels[4])
        self.layer6 = ResidualBlock2d(channels[4], channels[5])
        self.layer7 = ResidualBlock2d(channels[5], channels[6])
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
