"""``waveform``: the waveform model of Pons et al. 2018, section 4: a stack of filters of 3 samples, then the back end.

Shapes: B batch, T samples, C channels, N frames, K tags. ``wave_BT`` is mono 16 kHz in [-1, 1], not normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from genrescale.models.parts.backend import (
    BN_EPS,
    BN_MOMENTUM,
    Backend,
    BackendDials,
    check_length,
    check_whole,
    init_he_truncated,
    scale_filters,
    set_norm_momentum,
)
from genrescale.models.parts.fused import ReluNormPool2d, one_channel

# The paper's 7 layers (basic) and 9 (1.2M songs) are 3 x 64, then 128s, then 256. Other counts follow that pattern.
CHANNELS = {layers: (64,) * 3 + (128,) * (layers - 4) + (256,) for layers in range(5, 10)}
KERNEL = 3
POOL = 3


@dataclass(frozen=True, kw_only=True)
class WaveformDials(BackendDials):
    """``frontend_layers`` is one of ``CHANNELS``; ``frontend_width`` (at most 4) multiplies every channel count."""

    frontend_layers: int = 7
    frontend_width: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(frontend_layers=self.frontend_layers)
        if self.frontend_layers not in CHANNELS:
            raise ValueError(
                f"frontend_layers={self.frontend_layers} is none of {sorted(CHANNELS)} (the paper has 7 and 9)"
            )
        scale_filters(CHANNELS[7][0], self.frontend_width)

    @property
    def channels(self) -> list[int]:
        return [scale_filters(filters, self.frontend_width) for filters in CHANNELS[self.frontend_layers]]

    @property
    def min_input_len(self) -> int:
        """The fewest samples that give the back end ``min_frames`` frames, computed backwards through the layers."""
        length = self.min_frames
        for _ in range(self.frontend_layers - 1):
            length = length * POOL + KERNEL - 1
        return length * KERNEL


class WaveformFrontend(nn.Module):
    """Map ``wave_BT`` to ``features_BCN``. Layer 1 has stride 3 and no pool; the others stride 1, then max-pool 3/3.

    Each layer is conv (unpadded) -> ReLU -> BN -> pool; the last three are one fused layer (fused.py). The signal is
    treated as an image of height 1 in channels-last memory. The arithmetic is that of Conv1d, about twice as fast on a
    CPU, where memory traffic dominates.
    """

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, (1, KERNEL), stride=(1, KERNEL if i == 0 else 1))
            for i, (before, after) in enumerate(zip([1, *channels], channels, strict=False))
        )
        self.norms = nn.ModuleList(ReluNormPool2d(c, eps=BN_EPS, momentum=BN_MOMENTUM) for c in channels)

    def forward(self, wave_BT: Tensor) -> Tensor:
        h_BC1N = one_channel(wave_BT.unsqueeze(1))
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h_BC1N = norm(conv(h_BC1N), (1, POOL if i > 0 else 1))
        return h_BC1N.squeeze(2)


class WaveformTagger(nn.Module):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``.

    Dials: WaveformDials.
    """

    Dials = WaveformDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = WaveformDials(**dials)
        channels = self.dials.channels
        self.frontend = WaveformFrontend(channels)
        self.backend = Backend(channels[-1], num_tags, self.dials)
        self.apply(init_he_truncated)
        set_norm_momentum(self, self.dials.norm_momentum)

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_length(wave_BT.shape[1], self.dials.min_input_len)
        return self.backend(self.frontend(wave_BT))
