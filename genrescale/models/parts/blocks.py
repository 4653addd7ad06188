"""Parts that several convolutional models share: dials, the mel input with its batch norm, layers and heads.

Shapes: B batch, T samples, C channels, F mel bins, N frames, K tags.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.audio import SAMPLE_RATE
from genrescale.models.parts.backend import check_length, check_training
from genrescale.models.parts.frontend import MelSettings, RawLogMel
from genrescale.models.parts.fused import one_channel


@dataclass(frozen=True, kw_only=True)
class CnnDials:
    """``width`` multiplies every channel count; ``dropout`` is the rate before the dense layers.

    ``norm_momentum`` is the weight of a step's statistics in the running ones; 0.1 is PyTorch's.
    """

    width: float = 1.0
    dropout: float = 0.5
    norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        check_training(self.dropout, self.norm_momentum)
        if not math.isfinite(self.width) or self.width <= 0:
            raise ValueError(f"width={self.width!r} must be a positive number")

    def scaled(self, *channels: int) -> list[int]:
        """``channels`` times ``width``. Raises ValueError where they do not stay whole."""
        scaled = [count * self.width for count in channels]
        if any(count < 1 or count != int(count) for count in scaled):
            raise ValueError(f"width={self.width!r} must leave whole numbers of channels of {sorted(set(channels))}")
        return [int(count) for count in scaled]


def check_fixed_length(num_samples: int, input_len: int) -> None:
    """Raise ValueError where a model that takes one length only is given another."""
    if num_samples != input_len:
        raise ValueError(
            f"input of {num_samples} samples ({num_samples / SAMPLE_RATE:.3f} s): this model takes {input_len} samples "
            f"({input_len / SAMPLE_RATE:.3f} s) only, because its dense layer is as wide as its input is long; "
            "its dial input_len sets another length"
        )


class NormedMelTagger(nn.Module):
    """The input of Won's models: log-mel, then batch norm of one channel, which learns scale and offset.

    Published checkpoints call the front end ``spec.``, which is ``log_mel.mel.`` here; other names are as theirs.
    """

    masked_value = None  # the clip's mean: 0 dB is loud

    def __init__(self, settings: MelSettings, min_input_len: int) -> None:
        super().__init__()
        self.min_input_len = min_input_len
        self.log_mel = RawLogMel(settings)
        self.spec_augment: nn.Module = nn.Identity()
        self.spec_bn = nn.BatchNorm2d(1)

    def image(self, wave_BT: Tensor) -> Tensor:
        """``wave_BT`` -> ``logmel_B1FN``. Raises ValueError for a wave that is too short."""
        check_length(wave_BT.shape[1], self.min_input_len)
        image_B1FN = self.spec_bn(self.spec_augment(self.log_mel(wave_BT)).unsqueeze(1))
        # In fp32 PyTorch's batch norm of channels-last maps adds up cell by cell, and loses digits that fp32 has.
        return one_channel(image_B1FN.squeeze(1)) if torch.is_autocast_enabled("cpu") else image_B1FN


class ConvPool2d(nn.Module):
    """3x3 convolution (zero-padded) -> BN -> ReLU -> max-pool, over (F, N)."""

    def __init__(self, before: int, after: int, pool: int | tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1)
        self.bn = nn.BatchNorm2d(after)
        self.pool = pool

    def forward(self, h_BCFN: Tensor) -> Tensor:
        # ReLU after the pool gives the same numbers (both keep order) and works on a fraction of the cells.
        return F.relu(F.max_pool2d(self.bn(self.conv(h_BCFN)), self.pool), inplace=True)


class ResidualBlock2d(nn.Module):
    """ReLU(BN(conv(ReLU(BN(conv_s(h))))) + BN(conv_s(h))): 3x3 convolutions, those marked s with the stride (F, N).

    The shortcut is always a strided convolution with batch norm, also where the channel count stays.
    """

    def __init__(self, before: int, after: int, stride: int | tuple[int, int] = 2) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(before, after, 3, stride=stride, padding=1)
        self.bn_1 = nn.BatchNorm2d(after)
        self.conv_2 = nn.Conv2d(after, after, 3, padding=1)
        self.bn_2 = nn.BatchNorm2d(after)
        self.conv_3 = nn.Conv2d(before, after, 3, stride=stride, padding=1)
        self.bn_3 = nn.BatchNorm2d(after)

    def forward(self, h_BCFN: Tensor) -> Tensor:
        branch_BCFN = F.relu(self.bn_1(self.conv_1(h_BCFN)), inplace=True)
        return F.relu(self.bn_2(self.conv_2(branch_BCFN)) + self.bn_3(self.conv_3(h_BCFN)), inplace=True)
