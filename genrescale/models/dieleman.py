"""``dieleman``: the end-to-end CNN of Dieleman and Schrauwen 2014, a baseline of Pons et al. 2018, table 2 (194k).

wave_BT -> strided convolution in place of a spectrogram (128 filters of 256 samples, stride 256), ReLU -> twice:
convolution of 8 frames with 64 filters, ReLU, max-pool 4 -> flatten -> dense 100, ReLU -> dense -> logits_BK.

Pons et al. give 194k parameters and no architecture; their released network takes spectrograms (66,784 parameters).
Three first layers fit the count: 256 samples, stride 256, 128 filters (194,078 parameters with 50 tags, the default);
512, 256, 96 (194,046); 1024, 256, 64 (194,014). As in the released network there is no batch norm and no dropout.

The size of the dense layer depends on the input length, so one length is accepted: the dial ``input_len``, by default 3
s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models.parts.backend import check_whole, init_he_truncated
from genrescale.models.parts.blocks import check_fixed_length

KERNEL = 8
POOL = 4
NUM_LAYERS = 2


@dataclass(frozen=True, kw_only=True)
class DielemanDials:
    """Dials: ``first_*`` of the strided convolution (samples), ``filters`` of the two after it, dense ``units``."""

    first_kernel: int = 256
    first_stride: int = 256
    first_filters: int = 128
    filters: int = 64
    units: int = 100
    input_len: int = 48_000

    def __post_init__(self) -> None:
        check_whole(
            first_kernel=self.first_kernel,
            first_stride=self.first_stride,
            first_filters=self.first_filters,
            filters=self.filters,
            units=self.units,
            input_len=self.input_len,
        )
        if self.num_frames < 1:
            shortest = 1
            for _ in range(NUM_LAYERS):
                shortest = shortest * POOL + KERNEL - 1
            raise ValueError(
                f"input_len={self.input_len} is too short: these layers need at least "
                f"{(shortest - 1) * self.first_stride + self.first_kernel} samples"
            )

    @property
    def num_frames(self) -> int:
        """The number of frames that reach the dense layer; below 1 if the input is too short."""
        frames = (self.input_len - self.first_kernel) // self.first_stride + 1
        for _ in range(NUM_LAYERS):
            frames = (frames - KERNEL + 1) // POOL
        return frames

    @property
    def min_input_len(self) -> int:
        return self.input_len

    @property
    def fixed_input_len(self) -> int:
        return self.input_len


class Dieleman(nn.Module):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for T equal to ``dials.input_len`` only. Dials: DielemanDials."""

    Dials = DielemanDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = DielemanDials(**dials)
        filters = self.dials.filters
        self.first = nn.Conv1d(1, self.dials.first_filters, self.dials.first_kernel, stride=self.dials.first_stride)
        self.convs = nn.ModuleList([nn.Conv1d(self.dials.first_filters, filters, KERNEL)])
        self.convs.extend(nn.Conv1d(filters, filters, KERNEL) for _ in range(NUM_LAYERS - 1))
        self.dense = nn.Linear(self.dials.num_frames * filters, self.dials.units)
        self.output = nn.Linear(self.dials.units, num_tags)
        self.apply(init_he_truncated)

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_fixed_length(wave_BT.shape[1], self.dials.input_len)
        h_BCN = F.relu(self.first(wave_BT.unsqueeze(1)))
        for conv in self.convs:
            h_BCN = F.max_pool1d(F.relu(conv(h_BCN)), POOL)
        return self.output(F.relu(self.dense(h_BCN.flatten(1))))
