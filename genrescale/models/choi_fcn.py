"""``choi_fcn``: the network of Choi et al. 2016, the baseline "VGG (reproduced)" of Pons et al. 2018, table 3 (450k).

wave_BT -> log-mel of Pons, 96 bins (B, 96, N) -> one-channel batch norm -> five layers of 3x3 convolution, ReLU, BN,
max-pool and dropout, 64-128-128-128-64 channels -> flatten -> dense -> logits_BK. The pools are those of Pons's
released code: the first has a window of 1 bin x 4 frames and stride 2, then three of 2x2 and one of 4x4. Of 3 s (188
frames) 1 bin of 2 frames is left, 128 values. 450,932 parameters with 50 tags.

The paper gives only the count. The released VGG has five equal layers, of 128 channels (605,748 parameters;
``channels=[128, 128, 128, 128, 128]``) or of 32 (40,884). Choi's channels with Pons's pools give 450k. Difference from
the paper: logits, no sigmoid.

The size of the dense layer depends on the input length, so one length is accepted: the dial ``input_len``, by default 3
s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models.parts.backend import (
    BN_EPS,
    BN_MOMENTUM,
    check_training,
    check_whole,
    init_he_truncated,
    set_norm_momentum,
)
from genrescale.models.parts.blocks import check_fixed_length
from genrescale.models.parts.frontend import PONS_MEL, RawLogMel

# windows and strides (frequency, time)
WINDOWS = ((1, 4), (2, 2), (2, 2), (2, 2), (4, 4))
STRIDES = ((2, 2), (2, 2), (2, 2), (2, 2), (4, 4))
MIN_FRAMES = 66


def _pooled(cells: int, axis: int) -> int:
    for window, stride in zip(WINDOWS, STRIDES, strict=True):
        cells = (cells - window[axis]) // stride[axis] + 1
    return cells


@dataclass(frozen=True, kw_only=True)
class ChoiFcnDials:
    """``channels`` of the five layers, ``input_len`` in samples, and ``dropout`` before the dense layer.

    After each convolutional layer but the last, the dropout rate is half of it. ``norm_momentum`` is the weight of the
    current step in batch norm's running statistics; TensorFlow's default is 0.01 in this convention.
    """

    channels: list[int] = field(default_factory=lambda: [64, 128, 128, 128, 64])
    input_len: int = 48_000
    dropout: float = 0.5
    norm_momentum: float = BN_MOMENTUM

    def __post_init__(self) -> None:
        if not isinstance(self.channels, list) or len(self.channels) != len(WINDOWS):
            raise ValueError(f"channels={self.channels!r} must be a list of {len(WINDOWS)} numbers, one for each layer")
        check_whole(**{f"channels[{i}]": count for i, count in enumerate(self.channels)}, input_len=self.input_len)
        check_training(self.dropout, self.norm_momentum)
        if self.input_len < PONS_MEL.min_samples(MIN_FRAMES):
            raise ValueError(
                f"input_len={self.input_len} is too short: the pools need at least {PONS_MEL.min_samples(MIN_FRAMES)} "
                "samples"
            )

    @property
    def num_features(self) -> int:
        """The number of inputs of the dense layer."""
        frames = PONS_MEL.num_frames(self.input_len)
        return self.channels[-1] * _pooled(PONS_MEL.num_mels, 0) * _pooled(frames, 1)

    @property
    def min_input_len(self) -> int:
        return self.input_len

    @property
    def fixed_input_len(self) -> int:
        return self.input_len


class ChoiFcn(nn.Module):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for T equal to ``dials.input_len`` only. Dials: ChoiFcnDials."""

    Dials = ChoiFcnDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = ChoiFcnDials(**dials)
        channels = self.dials.channels
        self.log_mel = RawLogMel(PONS_MEL)
        self.spec_augment: nn.Module = nn.Identity()
        self.input_norm = nn.BatchNorm2d(1, eps=BN_EPS)
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise([1, *channels]))
        self.norms = nn.ModuleList(nn.BatchNorm2d(after, eps=BN_EPS) for after in channels)
        self.conv_dropout = nn.Dropout(self.dials.dropout / 2)
        self.dropout = nn.Dropout(self.dials.dropout)
        self.dense = nn.Linear(self.dials.num_features, num_tags)
        self.apply(init_he_truncated)
        set_norm_momentum(self, self.dials.norm_momentum)

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_fixed_length(wave_BT.shape[1], self.dials.input_len)
        h_BCFN = self.input_norm(self.spec_augment(self.log_mel(wave_BT)).unsqueeze(1))
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h_BCFN = F.max_pool2d(norm(F.relu(conv(h_BCFN), inplace=True)), WINDOWS[i], STRIDES[i])
            if i < len(self.convs) - 1:
                h_BCFN = self.conv_dropout(h_BCFN)
        return self.dense(self.dropout(h_BCFN.flatten(1)))
