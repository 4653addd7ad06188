"""``timbre_cnn``: the timbre filters of Pons et al. 2017, a baseline of Pons et al. 2018, table 3 (220k).

wave_BT -> log-mel of Pons, 96 bins (B, 96, N) -> one-channel batch norm -> twelve filter shapes (76, 57 and 19 bins
high; 7, 5, 3 and 1 frames long), each with convolution (zero-padded in time), ReLU, BN and maximum over frequency: 92
features a frame -> convolution of 8 frames with 32 filters, ReLU, max-pool 4 -> flatten -> dense 100, ReLU -> dense ->
logits_BK.

The parameter count depends on the input length: 221,056 for 231 frames (59,049 samples, the default), 185,856 for 3 s;
220,870 for 231 frames without batch norm. The paper says 220k, which does not decide between them. The default has
batch norm, as the released code; ``batch_norm=False`` is the other reading. Difference: logits, no sigmoid.

The size of the dense layer depends on the input length, so one length is accepted: the dial ``input_len``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
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

# height in mel bins: (frames, number of filters) of each shape
SHAPES = {
    int(0.8 * PONS_MEL.num_mels): ((7, 3), (5, 3), (3, 6), (1, 10)),
    int(0.6 * PONS_MEL.num_mels): ((7, 5), (5, 5), (3, 10), (1, 15)),
    int(0.2 * PONS_MEL.num_mels): ((7, 5), (5, 5), (3, 10), (1, 15)),
}
KERNEL = 8
POOL = 4


@dataclass(frozen=True, kw_only=True)
class TimbreCnnDials:
    """``times`` multiplies the filters of every timbre shape; ``norm_momentum`` 0.01 is TensorFlow's default."""

    times: int = 1
    backend_filters: int = 32
    backend_units: int = 100
    batch_norm: bool = True
    input_len: int = 59_049
    norm_momentum: float = BN_MOMENTUM

    def __post_init__(self) -> None:
        check_whole(
            times=self.times,
            backend_filters=self.backend_filters,
            backend_units=self.backend_units,
            input_len=self.input_len,
        )
        check_training(0.0, self.norm_momentum)
        if not isinstance(self.batch_norm, bool):
            raise ValueError(f"batch_norm={self.batch_norm!r} must be true or false")
        if self.num_frames < 1:
            raise ValueError(
                f"input_len={self.input_len} is too short: the back end needs at least "
                f"{PONS_MEL.min_samples(KERNEL - 1 + POOL)} samples"
            )

    @property
    def num_frames(self) -> int:
        """The number of frames that reach the dense layer."""
        return (PONS_MEL.num_frames(self.input_len) - KERNEL + 1) // POOL

    @property
    def min_input_len(self) -> int:
        return self.input_len

    @property
    def fixed_input_len(self) -> int:
        return self.input_len


class TimbreCnn(nn.Module):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for T equal to ``dials.input_len`` only. Dials: TimbreCnnDials."""

    Dials = TimbreCnnDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = TimbreCnnDials(**dials)
        shapes = [(height, span, self.dials.times * n) for height, of in SHAPES.items() for span, n in of]
        num_features = sum(filters for _, _, filters in shapes)
        self.log_mel = RawLogMel(PONS_MEL)
        self.spec_augment: nn.Module = nn.Identity()
        self.input_norm = self._norm(1)
        self.convs = nn.ModuleList(
            nn.Conv2d(1, n, (height, span), padding=(0, span // 2)) for height, span, n in shapes
        )
        self.norms = nn.ModuleList(self._norm(n) for _, _, n in shapes)
        self.conv = nn.Conv1d(num_features, self.dials.backend_filters, KERNEL)
        self.dense = nn.Linear(self.dials.num_frames * self.dials.backend_filters, self.dials.backend_units)
        self.output = nn.Linear(self.dials.backend_units, num_tags)
        self.apply(init_he_truncated)
        set_norm_momentum(self, self.dials.norm_momentum)

    def _norm(self, channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels, eps=BN_EPS) if self.dials.batch_norm else nn.Identity()

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_fixed_length(wave_BT.shape[1], self.dials.input_len)
        logmel_B1FN = self.input_norm(self.spec_augment(self.log_mel(wave_BT)).unsqueeze(1))
        timbres = [
            norm(F.relu(conv(logmel_B1FN))).amax(dim=2) for conv, norm in zip(self.convs, self.norms, strict=True)
        ]
        h_BCN = F.max_pool1d(F.relu(self.conv(torch.cat(timbres, dim=1))), POOL)
        return self.output(F.relu(self.dense(h_BCN.flatten(1))))
