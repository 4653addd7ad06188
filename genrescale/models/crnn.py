"""``crnn``: the convolutional recurrent network of Choi et al. 2017, as reproduced by Won et al. 2020.

wave_BT -> dB mel of 96 bins (B, 96, N) -> one-channel batch norm -> four layers of 3x3 convolution, BN, ReLU and
max-pool, 64-128-128-128 channels -> one bin, N // 96 frames -> two GRU layers of 32 units -> the state of the last
frame -> dropout -> dense -> logits_BK. The pools are (2,2) (3,3) (4,4) (4,4). Published input: 29 s (464,000 samples).

Differences from the papers: logits, no sigmoid. Choi has ELU, and dropout between the layers; Won, whose checkpoints
fit this model, has neither. Shortest input: 1.5 s (96 frames).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from genrescale.models.parts.backend import check_whole, set_norm_momentum
from genrescale.models.parts.blocks import CnnDials, ConvPool2d, NormedMelTagger
from genrescale.models.parts.frontend import WON_MEL

CHANNELS = (64, 128, 128, 128)
UNITS = 32
GRU_LAYERS = 2
POOLS = (2, 3, 4, 4)


@dataclass(frozen=True, kw_only=True)
class CrnnDials(CnnDials):
    """CnnDials; ``width`` also multiplies the units of the GRU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scaled(*CHANNELS, UNITS)

    @property
    def min_input_len(self) -> int:
        # pools drop remainders, so the fewest frames are the product of the pools
        return WON_MEL.min_samples(math.prod(POOLS))


class Crnn(NormedMelTagger):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``. Dials: CrnnDials."""

    Dials = CrnnDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        checked = CrnnDials(**dials)
        super().__init__(WON_MEL, checked.min_input_len)
        self.dials = checked
        check_whole(num_tags=num_tags)
        *channels, units = self.dials.scaled(*CHANNELS, UNITS)
        self.layer1 = ConvPool2d(1, channels[0], POOLS[0])
        self.layer2 = ConvPool2d(channels[0], channels[1], POOLS[1])
        self.layer3 = ConvPool2d(channels[1], channels[2], POOLS[2])
        self.layer4 = ConvPool2d(channels[2], channels[3], POOLS[3])
        self.layer5 = nn.GRU(channels[3], units, GRU_LAYERS, batch_first=True)
        self.dropout = nn.Dropout(self.dials.dropout)
        self.dense = nn.Linear(units, num_tags)
        set_norm_momentum(self, self.dials.norm_momentum)

    def forward(self, wave_BT: Tensor) -> Tensor:
        h_BCFN = self.image(wave_BT)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            h_BCFN = layer(h_BCFN)
        states_BNU, _ = self.layer5(h_BCFN.squeeze(2).transpose(1, 2))
        return self.dense(self.dropout(states_BNU[:, -1]))
