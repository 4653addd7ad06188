"""``musicnn_layernorm``: the MusiCNN with layer norm of Kroher et al. 2024 (music genre from synthetic music).

wave_BT -> peak-normalised by clip -> log-mel of Pons, 96 bins (B, 96, N) -> 204 filters of 38 bins x 7 frames and 204
of 67 x 7, each followed by the maximum over frequency, and 51 filters each of 32, 64 and 128 frames on the mean over
bins -> three convolutions of 7 frames with 64 filters, the second and third with a residual connection -> the features
and all three outputs concatenated (753), their maximum and mean over time (1,506) -> layer norm -> dropout -> dense 512
-> dense -> logits_BK. Every convolution and the dense 512 are followed by ReLU and layer norm over channels (Keras:
epsilon 1e-3). Published input: 10 s, 625 frames. 1,253,045 parameters with 10 classes.

Differences from the authors' code: their first layer norm acts on an axis of one channel, which would set its input to
zero; by the code's wiring it is not part of the model, so it is left out here. They normalise the peak of a file, here
of a clip. They cut the 626 frames of 10 s to 625. They do not say where their one dropout of 0.3 is. Logits, no
softmax. Shortest input: 0.02 s (257 samples).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models.parts.backend import check_length, check_training, check_whole
from genrescale.models.parts.frontend import PONS_MEL, RawLogMel

HEIGHTS = (int(0.4 * PONS_MEL.num_mels), int(0.7 * PONS_MEL.num_mels))
TIMBRAL_SPAN = 7
TEMPORAL_SPANS = (32, 64, 128)
KERNEL = 7
MIDDLE_LAYERS = 3
NORM_EPS = 1e-3


@dataclass(frozen=True, kw_only=True)
class MusicnnLayernormDials:
    """Number of filters of each timbral, temporal and middle layer, and ``backend_units`` of the dense layer."""

    timbral_filters: int = 204
    temporal_filters: int = 51
    backend_filters: int = 64
    backend_units: int = 512
    dropout: float = 0.3

    def __post_init__(self) -> None:
        check_whole(
            timbral_filters=self.timbral_filters,
            temporal_filters=self.temporal_filters,
            backend_filters=self.backend_filters,
            backend_units=self.backend_units,
        )
        check_training(self.dropout, norm_momentum=1.0)

    @property
    def num_features(self) -> int:
        """The number of features that the front end gives for a frame."""
        return len(HEIGHTS) * self.timbral_filters + len(TEMPORAL_SPANS) * self.temporal_filters

    @property
    def min_input_len(self) -> int:
        return PONS_MEL.min_len


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, ...), for each position separately."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPS)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class Convolution(nn.Module):
    """Convolution -> ReLU -> layer norm over channels. Padded as TensorFlow's SAME in time, unpadded in frequency."""

    def __init__(self, conv: nn.Conv1d | nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self.norm = ChannelNorm(conv.out_channels)

    def forward(self, h_BCN: Tensor) -> Tensor:
        span = self.conv.kernel_size[-1]
        return self.norm(F.relu(self.conv(F.pad(h_BCN, ((span - 1) // 2, span // 2)))))


def _init_glorot(module: nn.Module) -> None:
    """Initialise as Keras does by default: Glorot uniform weights, zero biases."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class MusicnnLayernorm(nn.Module):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``.

    Dials: MusicnnLayernormDials.
    """

    Dials = MusicnnLayernormDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = MusicnnLayernormDials(**dials)
        features, filters, units = self.dials.num_features, self.dials.backend_filters, self.dials.backend_units
        timbral, temporal = self.dials.timbral_filters, self.dials.temporal_filters
        self.log_mel = RawLogMel(PONS_MEL)
        self.spec_augment: nn.Module = nn.Identity()
        self.timbral = nn.ModuleList(Convolution(nn.Conv2d(1, timbral, (height, TIMBRAL_SPAN))) for height in HEIGHTS)
        self.temporal = nn.ModuleList(Convolution(nn.Conv1d(1, temporal, span)) for span in TEMPORAL_SPANS)
        before = [features] + [filters] * (MIDDLE_LAYERS - 1)
        self.middle = nn.ModuleList(Convolution(nn.Conv1d(count, filters, KERNEL)) for count in before)
        pooled = 2 * (features + MIDDLE_LAYERS * filters)
        self.pooled_norm = ChannelNorm(pooled)
        self.dropout = nn.Dropout(self.dials.dropout)
        self.dense = nn.Linear(pooled, units)
        self.dense_norm = ChannelNorm(units)
        self.output = nn.Linear(units, num_tags)
        self.apply(_init_glorot)

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_length(wave_BT.shape[1], self.dials.min_input_len)
        peak_B1 = wave_BT.abs().amax(dim=1, keepdim=True)
        # digital silence has no peak to divide by
        logmel_BFN = self.spec_augment(self.log_mel(wave_BT / torch.where(peak_B1 > 0, peak_B1, 1.0)))
        envelope_B1N = logmel_BFN.mean(dim=1, keepdim=True)
        timbral = [layer(logmel_BFN.unsqueeze(1)).amax(dim=2) for layer in self.timbral]
        outputs = [torch.cat([*timbral, *(layer(envelope_B1N) for layer in self.temporal)], dim=1)]
        for i, layer in enumerate(self.middle):
            # the first convolution changes the channel count, so it has no residual connection
            outputs.append(layer(outputs[-1]) + (outputs[-1] if i > 0 else 0))
        all_BCN = torch.cat(outputs, dim=1)
        pooled_BC = torch.cat([all_BCN.amax(dim=2), all_BCN.mean(dim=2)], dim=1)
        units_BU = self.dense_norm(F.relu(self.dense(self.dropout(self.pooled_norm(pooled_BC)))))
        return self.output(units_BU)
