"""``fcn``: the fully convolutional network of Choi et al. 2016, as reproduced by Won et al. 2020.

wave_BT -> dB mel of 96 bins (B, 96, N) -> one-channel batch norm -> five layers of 3x3 convolution, BN, ReLU and
max-pool, 64-128-128-128-64 channels -> dropout -> dense -> logits_BK. The pools (frequency, time) are (2,4) (2,4) (2,4)
(3,5) (4,4): they reduce 96 bins to one, and 29 s (464,000 samples, the published input) to one frame.

Differences from the papers: logits, no sigmoid. Longer inputs leave several frames, and the maximum over them is taken,
as if the last pool were wider; the published code accepts 29 s only. Shortest input: 20.5 s (1,280 frames).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from genrescale.models.parts.backend import check_whole, set_norm_momentum
from genrescale.models.parts.blocks import CnnDials, ConvPool2d, NormedMelTagger
from genrescale.models.parts.frontend import WON_MEL

CHANNELS = (64, 128, 128, 128, 64)
POOLS = ((2, 4), (2, 4), (2, 4), (3, 5), (4, 4))


@dataclass(frozen=True, kw_only=True)
class FcnDials(CnnDials):
    """CnnDials, with channel counts that must stay whole."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scaled(*CHANNELS)

    @property
    def min_input_len(self) -> int:
        # pools drop remainders, so the fewest frames are the product of the pools
        return WON_MEL.min_samples(math.prod([frames for _, frames in POOLS]))


class Fcn(NormedMelTagger):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``. Dials: FcnDials."""

    Dials = FcnDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        checked = FcnDials(**dials)
        super().__init__(WON_MEL, checked.min_input_len)
        self.dials = checked
        check_whole(num_tags=num_tags)
        channels = self.dials.scaled(*CHANNELS)
        self.layer1 = ConvPool2d(1, channels[0], POOLS[0])
        self.layer2 = ConvPool2d(channels[0], channels[1], POOLS[1])
        self.layer3 = ConvPool2d(channels[1], channels[2], POOLS[2])
        self.layer4 = ConvPool2d(channels[2], channels[3], POOLS[3])
        self.layer5 = ConvPool2d(channels[3], channels[4], POOLS[4])
        self.dropout = nn.Dropout(self.dials.dropout)
        self.dense = nn.Linear(channels[4], num_tags)
        set_norm_momentum(self, self.dials.norm_momentum)

    def forward(self, wave_BT: Tensor) -> Tensor:
        h_BCFN = self.image(wave_BT)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4, self.layer5):
            h_BCFN = layer(h_BCFN)
        return self.dense(self.dropout(h_BCFN.amax(dim=(2, 3))))
