"""``vgg_gtzan``: the reference CNN of the GTZAN project (``papers/gtzan_ssast.txt``, section 2.1).

wave_BT -> dB mel of 128 bins (windows of 25 ms every 10 ms in a transform of 2048), not normalised -> four layers of
3x3 convolution, BN, ReLU and max-pool 2, 32-64-128-256 channels -> mean over frequency and time -> dense 128, ReLU ->
dropout -> dense -> logits_BK. 422,986 parameters with 10 classes. Published input: 1,024 frames (10.24 s).

No known difference from the project. Shortest input: 0.15 s (16 frames).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models.parts.backend import check_length, check_whole, set_norm_momentum
from genrescale.models.parts.blocks import CnnDials, ConvPool2d
from genrescale.models.parts.frontend import GTZAN_MEL, RawLogMel

CHANNELS = (32, 64, 128, 256)
UNITS = 128
POOL = 2


@dataclass(frozen=True, kw_only=True)
class VggGtzanDials(CnnDials):
    """CnnDials; ``width`` also multiplies the units of the dense layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scaled(*CHANNELS, UNITS)

    @property
    def min_input_len(self) -> int:
        return GTZAN_MEL.min_samples(POOL ** len(CHANNELS))


class VggGtzan(nn.Module):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``.

    Dials: VggGtzanDials.
    """

    Dials = VggGtzanDials
    masked_value = None  # SpecAugment fills with the clip's mean, because 0 dB would be loud

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = VggGtzanDials(**dials)
        *channels, units = self.dials.scaled(*CHANNELS, UNITS)
        self.log_mel = RawLogMel(GTZAN_MEL)
        self.spec_augment: nn.Module = nn.Identity()
        self.layer1 = ConvPool2d(1, channels[0], POOL)
        self.layer2 = ConvPool2d(channels[0], channels[1], POOL)
        self.layer3 = ConvPool2d(channels[1], channels[2], POOL)
        self.layer4 = ConvPool2d(channels[2], channels[3], POOL)
        self.dense = nn.Linear(channels[3], units)
        self.dropout = nn.Dropout(self.dials.dropout)
        self.output = nn.Linear(units, num_tags)
        set_norm_momentum(self, self.dials.norm_momentum)

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_length(wave_BT.shape[1], self.dials.min_input_len)
        h_BCFN = self.spec_augment(self.log_mel(wave_BT)).unsqueeze(1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            h_BCFN = layer(h_BCFN)
        units_BU = F.relu(self.dense(h_BCFN.mean(dim=(2, 3))))
        return self.output(self.dropout(units_BU))
