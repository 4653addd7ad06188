"""Parts that several convolutional models share: dials, the mel input with its batch norm, and layers.

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
    """Dials that several CNNs share. ``width`` multiplies every channel count.

    ``dropout`` is the rate before the dense layers. ``norm_momentum`` is the weight of the current step in batch norm's
    running statistics; PyTorch's default is 0.1.
    """

    width: float = 1.0
    dropout: float = 0.5
    norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        check_training(self.dropout, self.norm_momentum)
        if not math.isfinite(self.width) or self.width <= 0:
            raise ValueError(f"width={self.width!r} must be a positive number")

    def scaled(self, *channels: int) -> list[int]:
        """Return ``channels`` times ``width``. Raises ValueError if a product is not a whole number."""
        scaled = [count * self.width for count in channels]
        if any(count < 1 or count != int(count) for count in scaled):
            raise ValueError(f"width={self.width!r} times {sorted(set(channels))} channels must give whole numbers")
        return [int(count) for count in scaled]


def check_fixed_length(num_samples: int, input_len: int) -> None:
    """Raise ValueError if ``num_samples`` is not ``input_len``, the one length that the model accepts."""
    if num_samples != input_len:
        raise ValueError(
            f"input of {num_samples} samples ({num_samples / SAMPLE_RATE:.3f} s): this model takes {input_len} samples "
            f"({input_len / SAMPLE_RATE:.3f} s) only, because the size of its dense layer depends on the input length; "
            "set the dial input_len for another length"
        )


class NormedMelTagger(nn.Module):
    """Base of Won's models: a log-mel front end, then a one-channel batch norm that learns scale and offset.

    Published checkpoints name the front end ``spec.``, which is ``log_mel.mel.`` here; all other names are the same.
    """

    masked_value = None  # SpecAugment fills with the clip's mean, because 0 dB would be loud

    def __init__(self, settings: MelSettings, min_input_len: int) -> None:
        super().__init__()
        self.min_input_len = min_input_len
        self.log_mel = RawLogMel(settings)
        self.spec_augment: nn.Module = nn.Identity()
        self.spec_bn = nn.BatchNorm2d(1)

    def image(self, wave_BT: Tensor) -> Tensor:
        """Compute ``logmel_B1FN`` from ``wave_BT``. Raises ValueError if the wave is too short."""
        check_length(wave_BT.shape[1], self.min_input_len)
        image_B1FN = self.spec_bn(self.spec_augment(self.log_mel(wave_BT)).unsqueeze(1))
        # In fp32, PyTorch's channels-last batch norm sums cell by cell and loses digits, so only autocast uses it.
        return one_channel(image_B1FN.squeeze(1)) if torch.is_autocast_enabled("cpu") else image_B1FN


class ConvPool2d(nn.Module):
    """3x3 convolution (zero-padded) -> BN -> ReLU -> max-pool, over (F, N)."""

    def __init__(self, before: int, after: int, pool: int | tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1)
        self.bn = nn.BatchNorm2d(after)
        self.pool = pool

    def forward(self, h_BCFN: Tensor) -> Tensor:
        # ReLU and max-pool commute; ReLU after the pool has fewer cells to process.
        return F.relu(F.max_pool2d(self.bn(self.conv(h_BCFN)), self.pool), inplace=True)


class ResidualBlock2d(nn.Module):
    """ReLU(BN(conv(ReLU(BN(conv_s(h))))) + BN(conv_s(h))), with 3x3 convolutions; conv_s has the stride (F, N).

    The shortcut is always a strided convolution with batch norm, even if the channel count does not change.
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
