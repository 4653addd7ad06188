"""The spectrogram model of Pons et al. 2018, section 4: one layer of musically motivated filters on a log-mel
spectrogram, then the shared back end.

Shapes: B batch, T samples, F mel bins (96), R rows left after a filter valid in frequency, N frames, C channels,
K tags. The base count n is 16 ("num_filt" of the released code); ``frontend_width`` multiplies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.models.backend import (
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
from genrescale.models.frontend import NUM_MELS, LogMel, check_normalisation, min_samples

BASE_FILTERS = 16
# Filter heights, 0.9 and 0.4 of the mel bins; each height has filters of three durations, as multiples of n.
TIMBRAL_HEIGHTS = (int(0.9 * NUM_MELS), int(0.4 * NUM_MELS))
TIMBRAL = ((7, 1), (3, 2), (1, 4))
TEMPORAL = ((165, 1), (128, 2), (64, 4), (32, 8))
# Up to this many filters a CPU runs a bank faster as one convolution: they are the lanes of one vector register.
MERGED_FILTERS = 16


@dataclass(frozen=True, kw_only=True)
class SpectrogramDials(BackendDials):
    """``frontend_width`` multiplies every filter count (1/8 to 4); ``log_mel_*`` normalise (log_mel_statistics)."""

    frontend_width: float = 1.0
    log_mel_mean: float = 0.0
    log_mel_std: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        scale_filters(BASE_FILTERS, self.frontend_width)
        check_normalisation(self.log_mel_mean, self.log_mel_std)

    @property
    def base_filters(self) -> int:
        return scale_filters(BASE_FILTERS, self.frontend_width)

    @property
    def min_input_len(self) -> int:
        return min_samples(self.min_frames)


class TimbralBank(nn.Module):
    """``logmel_B1FN`` -> (B, 7n, N): filters of one height and three durations, then max over frequency.

    Zero-padded in time only; conv -> ReLU -> BN -> max-pool over all rows, which makes them blind to pitch. A
    batch norm works by channel, so one for the bank equals one for each duration.
    """

    def __init__(self, height: int, base: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(1, times * base, (height, span), padding=(0, span // 2)) for span, times in TIMBRAL
        )
        num_filters = base * sum(times for _, times in TIMBRAL)
        self.norm = nn.BatchNorm2d(num_filters, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.merged = num_filters <= MERGED_FILTERS

    def forward(self, logmel_B1FN: Tensor) -> Tensor:
        if self.merged:
            h_BCRN = self._convolve_merged(logmel_B1FN)
        else:
            h_BCRN = torch.cat([conv(logmel_B1FN) for conv in self.convs], dim=1)
        h_BCRN = self.norm(F.relu(h_BCRN, inplace=True))
        return F.max_pool2d(h_BCRN, (h_BCRN.shape[2], 1)).squeeze(2)

    def _convolve_merged(self, logmel_B1FN: Tensor) -> Tensor:
        """All durations as one convolution: the shorter filters are widened with zeros at both sides."""
        widest = max(span for span, _ in TIMBRAL)
        weights = [conv.get_parameter("weight") for conv in self.convs]
        widened = [F.pad(weight, ((widest - weight.shape[3]) // 2,) * 2) for weight in weights]
        bias = torch.cat([conv.get_parameter("bias") for conv in self.convs])
        return F.conv2d(logmel_B1FN, torch.cat(widened), bias, padding=(0, widest // 2))


class TemporalBank(nn.Module):
    """``logmel_BFN`` -> (B, 15n, N): long filters over the energy envelope, the mean over frequency. No pool."""

    def __init__(self, base: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(1, times * base, span) for span, times in TEMPORAL)
        num_filters = base * sum(times for _, times in TEMPORAL)
        self.norm = nn.BatchNorm1d(num_filters, eps=BN_EPS, momentum=BN_MOMENTUM)

    def forward(self, logmel_BFN: Tensor) -> Tensor:
        envelope_B1N = logmel_BFN.mean(dim=1, keepdim=True)
        # TensorFlow's SAME: an even filter has its extra zero at the right (128: 63 and 64).
        padded = [F.pad(envelope_B1N, ((span - 1) // 2, span // 2)) for span, _ in TEMPORAL]
        h_BCN = torch.cat([conv(x_B1N) for conv, x_B1N in zip(self.convs, padded, strict=True)], dim=1)
        return self.norm(F.relu(h_BCN, inplace=True))


class SpectrogramTagger(nn.Module):
    """``wave_BT`` (float32) -> ``logits_BK``, for any T of at least ``dials.min_input_len``.

    Dials: SpectrogramDials. The 29n features are the timbral filters, tall ones first, then the temporal ones.
    """

    Dials = SpectrogramDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = SpectrogramDials(**dials)
        base = self.dials.base_filters
        self.log_mel = LogMel(self.dials.log_mel_mean, self.dials.log_mel_std)
        self.spec_augment: nn.Module = nn.Identity()
        self.timbral = nn.ModuleList(TimbralBank(height, base) for height in TIMBRAL_HEIGHTS)
        self.temporal = TemporalBank(base)
        num_features = base * (2 * sum(t for _, t in TIMBRAL) + sum(t for _, t in TEMPORAL))
        self.backend = Backend(num_features, num_tags, self.dials)
        self.apply(init_he_truncated)
        set_norm_momentum(self, self.dials.norm_momentum)

    def features(self, logmel_BFN: Tensor) -> Tensor:
        """``logmel_BFN`` -> ``features_BCN``, N kept."""
        tall_and_short = [bank(logmel_BFN.unsqueeze(1)) for bank in self.timbral]
        return torch.cat([*tall_and_short, self.temporal(logmel_BFN)], dim=1)

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_length(wave_BT.shape[1], self.dials.min_input_len)
        return self.backend(self.features(self.spec_augment(self.log_mel(wave_BT))))
