"""``mediaeval_res``: the model of Knox et al. 2020 for MediaEval 2020, "Emotions and themes in music".

It is Won's ``short_chunk_res`` with a larger receptive field: wave_BT -> dB mel of 128 bins (B, 128, N) -> one-channel
batch norm -> five residual blocks of stride 2, then two of stride 2 in frequency and 3 in time,
128-128-256-256-256-256-512 channels -> maximum over time and the remaining bins -> dense 256, BN, ReLU -> dropout ->
dense -> logits_BK. Published input: 4.6 s (73,600 samples): 288 frames become 144, 72, 36, 18, 9, 3, 1.

The paper enlarges the receptive field in time; Koutini et al., whom it cites, found frequency to matter more. So the
dials ``stride_time`` and ``stride_freq`` set the strides of the last two blocks, and ``receptive_field`` gives the
result. Difference from the paper: logits, no sigmoid (the paper's text says softmax; its code and tables, sigmoid).
Shortest input: 0.02 s (257 samples).

The last two blocks and the head have other names than in ``short_chunk_res``. So weights matched by name carry over
what the authors carried over from Won's model: the input batch norm and blocks 1 to 5.
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
UNITS = 256
STRIDE = 2
LOW_BLOCKS = 5
MAX_STRIDE = 4


@dataclass(frozen=True, kw_only=True)
class MediaevalResDials(CnnDials):
    """CnnDials and the strides of the last two blocks, ``stride_freq`` and ``stride_time`` (1 to 4)."""

    stride_freq: int = 2
    stride_time: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scaled(*CHANNELS, UNITS)
        check_whole(stride_freq=self.stride_freq, stride_time=self.stride_time)
        if max(self.stride_freq, self.stride_time) > MAX_STRIDE:
            raise ValueError(
                f"stride_freq={self.stride_freq} and stride_time={self.stride_time} must be at most {MAX_STRIDE}: "
                "with a larger stride a filter of 3 skips cells"
            )

    @property
    def min_input_len(self) -> int:
        return WON_MEL_128.min_len

    @property
    def receptive_field(self) -> tuple[int, int]:
        """Mel bins and frames that one cell of the last block depends on (128 bins or more: all of them)."""
        bins, frames = (
            _receptive_field([STRIDE] * LOW_BLOCKS + [stride] * (len(CHANNELS) - LOW_BLOCKS))
            for stride in (self.stride_freq, self.stride_time)
        )
        return bins, frames


def _receptive_field(strides: list[int]) -> int:
    """Cells along one axis seen by blocks of two convolutions of 3, the first of which has the block's stride."""
    field, step = 1, 1
    for stride in strides:
        field += 2 * step
        step *= stride
        field += 2 * step
    return field


class MediaevalRes(NormedMelTagger):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``.

    Dials: MediaevalResDials.
    """

    Dials = MediaevalResDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        checked = MediaevalResDials(**dials)
        super().__init__(WON_MEL_128, checked.min_input_len)
        self.dials = checked
        check_whole(num_tags=num_tags)
        *channels, units = self.dials.scaled(*CHANNELS, UNITS)
        stride = (self.dials.stride_freq, self.dials.stride_time)
        self.layer1 = ResidualBlock2d(1, channels[0], STRIDE)
        self.layer2 = ResidualBlock2d(channels[0], channels[1], STRIDE)
        self.layer3 = ResidualBlock2d(channels[1], channels[2], STRIDE)
        self.layer4 = ResidualBlock2d(channels[2], channels[3], STRIDE)
        self.layer5 = ResidualBlock2d(channels[3], channels[4], STRIDE)
        self.layer6_wide = ResidualBlock2d(channels[4], channels[5], stride)
        self.layer7_wide = ResidualBlock2d(channels[5], channels[6], stride)
        self.dense_1 = nn.Linear(channels[6], units)
        self.bn_1 = nn.BatchNorm1d(units)
        self.dropout = nn.Dropout(self.dials.dropout)
        self.dense_2 = nn.Linear(units, num_tags)
        set_norm_momentum(self, self.dials.norm_momentum)

    def blocks(self, logmel_B1FN: Tensor) -> Tensor:
        """Run all residual blocks: ``logmel_B1FN`` -> (B, C, F', N')."""
        h_BCFN = logmel_B1FN
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4, self.layer5):
            h_BCFN = layer(h_BCFN)
        return self.layer7_wide(self.layer6_wide(h_BCFN))

    def forward(self, wave_BT: Tensor) -> Tensor:
        pooled_BC = self.blocks(self.image(wave_BT)).amax(dim=(2, 3))
        return self.dense_2(self.dropout(F.relu(self.bn_1(self.dense_1(pooled_BC)))))
