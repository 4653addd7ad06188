"""``musicnn``: the musically motivated CNN of Pons et al. 2018, as revised in 2019 and reproduced by Won et al. 2020.

wave_BT -> dB mel of 96 bins (B, 96, N) -> one-channel batch norm -> front end with 561 features a frame: 204 filters of
67 bins x 7 frames and 204 of 38 x 7, each max-pooled over frequency, and 51 filters each of 129, 65 and 33 frames on
the mean over bins -> three convolutions of 7 frames with 64 filters, the second and third with a residual connection ->
the features and all three outputs concatenated (753), their maximum and mean over time (1,506) -> dense 200, BN, ReLU
-> dropout -> dense -> logits_BK. Published input: 3 s (48,000 samples).

Differences from the authors' musicnn of 2019: BN before ReLU, long filters of odd lengths (theirs: 128, 64, 32), dB
instead of log10(10000 x + 1). Difference from Won: logits, no sigmoid. The model that Won trained on the Million Song
Dataset has ``backend_filters=512, backend_units=500``. Shortest input: 0.02 s (257 samples).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models.parts.backend import check_training, check_whole, set_norm_momentum
from genrescale.models.parts.blocks import NormedMelTagger
from genrescale.models.parts.frontend import WON_MEL

HEIGHTS = (int(0.7 * WON_MEL.num_mels), int(0.4 * WON_MEL.num_mels))
TIMBRAL_SPAN = 7
TEMPORAL_SPANS = (129, 65, 33)
KERNEL = 7


@dataclass(frozen=True, kw_only=True)
class MusicnnDials:
    """Number of filters of each timbral, temporal and middle layer, and ``backend_units`` of the dense layer.

    ``norm_momentum`` is the weight of the current step in batch norm's running statistics; PyTorch's default is 0.1.
    """

    timbral_filters: int = 204
    temporal_filters: int = 51
    backend_filters: int = 64
    backend_units: int = 200
    dropout: float = 0.5
    norm_momentum: float = 0.1

    def __post_init__(self) -> None:
        check_whole(
            timbral_filters=self.timbral_filters,
            temporal_filters=self.temporal_filters,
            backend_filters=self.backend_filters,
            backend_units=self.backend_units,
        )
        check_training(self.dropout, self.norm_momentum)

    @property
    def num_features(self) -> int:
        """The number of features that the front end gives for a frame."""
        return len(HEIGHTS) * self.timbral_filters + len(TEMPORAL_SPANS) * self.temporal_filters

    @property
    def min_input_len(self) -> int:
        return WON_MEL.min_len


class Timbral(nn.Module):
    """Map ``logmel_B1FN`` to (B, C, N): filters of ``height`` bins x 7 frames, BN, ReLU, maximum over frequency."""

    def __init__(self, filters: int, height: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, filters, (height, TIMBRAL_SPAN), padding=(0, TIMBRAL_SPAN // 2))
        self.bn = nn.BatchNorm2d(filters)

    def forward(self, logmel_B1FN: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(logmel_B1FN)).amax(dim=2))


class Convolution(nn.Module):
    """Map ``h_BCN`` to (B, filters, N): zero-padded convolution over ``span`` frames (odd), BN, ReLU."""

    def __init__(self, before: int, filters: int, span: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(before, filters, span, padding=span // 2)
        self.bn = nn.BatchNorm1d(filters)

    def forward(self, h_BCN: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(h_BCN)), inplace=True)


class Musicnn(NormedMelTagger):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``.

    Dials: MusicnnDials.
    """

    Dials = MusicnnDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        checked = MusicnnDials(**dials)
        super().__init__(WON_MEL, checked.min_input_len)
        self.dials = checked
        check_whole(num_tags=num_tags)
        features, filters, units = self.dials.num_features, self.dials.backend_filters, self.dials.backend_units
        timbral = [Timbral(self.dials.timbral_filters, height) for height in HEIGHTS]
        temporal = [Convolution(1, self.dials.temporal_filters, span) for span in TEMPORAL_SPANS]
        self.layers = nn.ModuleList([*timbral, *temporal])
        self.layer1 = Convolution(features, filters, KERNEL)
        self.layer2 = Convolution(filters, filters, KERNEL)
        self.layer3 = Convolution(filters, filters, KERNEL)
        self.dense1 = nn.Linear(2 * (features + 3 * filters), units)
        self.bn = nn.BatchNorm1d(units)
        self.dropout = nn.Dropout(self.dials.dropout)
        self.dense2 = nn.Linear(units, num_tags)
        set_norm_momentum(self, self.dials.norm_momentum)

    def forward(self, wave_BT: Tensor) -> Tensor:
        logmel_B1FN = self.image(wave_BT)
        envelope_B1N = logmel_B1FN.mean(dim=2)
        inputs = [logmel_B1FN] * len(HEIGHTS) + [envelope_B1N] * len(TEMPORAL_SPANS)
        features_BCN = torch.cat([layer(x) for layer, x in zip(self.layers, inputs, strict=True)], dim=1)
        first_BCN = self.layer1(features_BCN)
        second_BCN = self.layer2(first_BCN) + first_BCN
        third_BCN = self.layer3(second_BCN) + second_BCN
        all_BCN = torch.cat([features_BCN, first_BCN, second_BCN, third_BCN], dim=1)
        pooled_BC = torch.cat([all_BCN.amax(dim=2), all_BCN.mean(dim=2)], dim=1)
        return self.dense2(self.dropout(F.relu(self.bn(self.dense1(pooled_BC)))))
