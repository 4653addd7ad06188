"""``sample_cnn``: the sample-level CNN of Lee et al. 2017, the baseline of Pons et al. 2018, table 2.

wave_BT -> convolution of 3 samples with stride 3, BN, ReLU -> nine layers of convolution of 3, BN, ReLU and max-pool 3,
channels 128, then 128-128-256-256-256-256-256-256-512 -> convolution with 512 filters, BN, ReLU -> maximum over time ->
dropout -> dense -> logits_BK. Published input: 3^10 = 59,049 samples (2.68 s at Lee's 22.05 kHz, 3.69 s at 16 kHz),
which leaves one frame.

There are two readings of the last convolution. 3 frames (``last_kernel=3``, the default) give 2,394,162 parameters with
50 tags, the 2.4M of both papers. Both public codes have 1 frame (``last_kernel=1``, 1,869,874). Batch norm and
initialisation are TensorFlow's, as in Pons's other models. Differences from the papers: logits, no sigmoid; longer
inputs leave several frames, and the maximum over them is taken. Shortest input: 59,049 samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models.parts.backend import (
    BN_EPS,
    BN_MOMENTUM,
    check_length,
    check_whole,
    init_he_truncated,
    set_norm_momentum,
)
from genrescale.models.parts.blocks import CnnDials

CHANNELS = (128, 128, 128, 256, 256, 256, 256, 256, 256, 512, 512)
KERNEL = 3
POOL = 3
LAST_KERNELS = (1, 3)


@dataclass(frozen=True, kw_only=True)
class SampleCnnDials(CnnDials):
    """CnnDials, ``last_kernel`` (frames of the last convolution, 1 or 3), and details on which implementations differ.

    ``first_padding`` is the number of zeros (0 or 1) added at both ends of the wave, ``norm_eps`` batch norm's epsilon;
    Won et al. 2020, in PyTorch, have 1 and 1e-5. ``norm_momentum`` 0.01 is TensorFlow's default.
    """

    last_kernel: int = 3
    first_padding: int = 0
    norm_eps: float = BN_EPS
    norm_momentum: float = BN_MOMENTUM

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scaled(*CHANNELS)
        check_whole(last_kernel=self.last_kernel)
        if self.last_kernel not in LAST_KERNELS:
            raise ValueError(f"last_kernel={self.last_kernel} is none of {list(LAST_KERNELS)}")
        if self.first_padding not in (0, 1) or not self.norm_eps > 0:
            raise ValueError(
                f"first_padding={self.first_padding} must be 0 or 1, norm_eps={self.norm_eps} greater than 0"
            )

    @property
    def min_input_len(self) -> int:
        return KERNEL * POOL ** (len(CHANNELS) - 2)


class SampleCnn(nn.Module):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``.

    Dials: SampleCnnDials.
    """

    Dials = SampleCnnDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = SampleCnnDials(**dials)
        channels = self.dials.scaled(*CHANNELS)
        first_padding = self.dials.first_padding
        kernels = [KERNEL] * (len(channels) - 1) + [self.dials.last_kernel]
        self.convs = nn.ModuleList(
            nn.Conv1d(before, after, kernel, stride=1 if i else KERNEL, padding=kernel // 2 if i else first_padding)
            for i, (before, after, kernel) in enumerate(zip([1, *channels], channels, kernels, strict=False))
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(after, eps=self.dials.norm_eps) for after in channels)
        self.dropout = nn.Dropout(self.dials.dropout)
        self.dense = nn.Linear(channels[-1], num_tags)
        self.apply(init_he_truncated)
        set_norm_momentum(self, self.dials.norm_momentum)

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_length(wave_BT.shape[1], self.dials.min_input_len)
        h_BCN = wave_BT.unsqueeze(1)
        last = len(self.convs) - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h_BCN = norm(conv(h_BCN))
            if 0 < i < last:
                h_BCN = F.max_pool1d(h_BCN, POOL)
            h_BCN = F.relu(h_BCN, inplace=True)
        return self.dense(self.dropout(h_BCN.amax(dim=2)))
