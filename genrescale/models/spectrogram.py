"""``spectrogram``: the spectrogram model of Pons et al. 2018, section 4.

One layer of musically motivated filters on a log-mel spectrogram, then the shared back end. For comparison there is
also the deep stack of 3x3 filters that the section discusses: as good below 10 s, and too large for the authors' GPUs
at 15 s.

Shapes: B batch, T samples, F mel bins (96), R rows left by a filter without padding in frequency, N frames, C channels,
K tags. The base count n is 16 ("num_filt" of the released code); ``frontend_width`` multiplies it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
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
from genrescale.models.parts.frontend import NUM_MELS, LogMel, check_normalisation, min_samples
from genrescale.models.parts.fused import ReluNormPool2d, one_channel

BASE_FILTERS = 16
# Filter heights are 0.9 and 0.4 of the mel bins. Pairs are (frames, number of filters as a multiple of n).
TIMBRAL_HEIGHTS = (int(0.9 * NUM_MELS), int(0.4 * NUM_MELS))
TIMBRAL = ((7, 1), (3, 2), (1, 4))
TEMPORAL = ((165, 1), (128, 2), (64, 4), (32, 8))
# Features of a frame, as a multiple of n. Both front ends give as many, so they share the back end.
FEATURES = len(TIMBRAL_HEIGHTS) * sum(times for _, times in TIMBRAL) + sum(times for _, times in TEMPORAL)
# 64-128-128-128 at n = 16, as in Choi et al. 2016, the 3x3 network that the paper cites ([5]); then the features.
DEEP = (4, 8, 8, 8, FEATURES)
Frontend = Literal["musical", "deep3x3"]
# With at most this many filters (one vector register), a CPU runs a bank faster as one convolution.
MERGED_FILTERS = 16


@dataclass(frozen=True, kw_only=True)
class SpectrogramDials(BackendDials):
    """BackendDials and those of the front end, which is ``musical`` (the paper's) or ``deep3x3``.

    ``frontend_width`` (at most 4) multiplies every filter count of the front end. ``log_mel_mean`` and ``log_mel_std``
    normalise the spectrogram (``log_mel_statistics``).
    """

    frontend: Frontend = "musical"
    frontend_width: float = 1.0
    log_mel_mean: float = 0.0
    log_mel_std: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frontend not in get_args(Frontend):
            raise ValueError(f"frontend={self.frontend!r} is none of {sorted(get_args(Frontend))}")
        scale_filters(BASE_FILTERS, self.frontend_width)
        check_normalisation(self.log_mel_mean, self.log_mel_std)

    @property
    def base_filters(self) -> int:
        return scale_filters(BASE_FILTERS, self.frontend_width)

    @property
    def min_input_len(self) -> int:
        return min_samples(self.min_frames)


class TimbralBank(nn.Module):
    """Map ``logmel_B1FN`` to (B, 7n, N): filters of one height and three durations, then the maximum over frequency.

    Conv (zero-padded in time only) -> ReLU -> BN -> max-pool over all rows, which makes the features pitch-invariant.
    Batch norm acts on each channel separately, so one norm for the bank equals one for each duration.
    """

    def __init__(self, height: int, base: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(1, times * base, (height, span), padding=(0, span // 2)) for span, times in TIMBRAL
        )
        num_filters = base * sum(times for _, times in TIMBRAL)
        self.norm = ReluNormPool2d(num_filters, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.merged = num_filters <= MERGED_FILTERS

    def forward(self, logmel_B1FN: Tensor) -> Tensor:
        if self.merged:
            parts_BCRN = [self._convolve_merged(logmel_B1FN)]
        else:
            parts_BCRN = [conv(logmel_B1FN) for conv in self.convs]
        return self.norm(parts_BCRN, (parts_BCRN[0].shape[2], 1)).squeeze(2)

    def _convolve_merged(self, logmel_B1FN: Tensor) -> Tensor:
        """Run all durations as one convolution, with the shorter filters zero-padded on both sides."""
        widest = max(span for span, _ in TIMBRAL)
        weights = [conv.get_parameter("weight") for conv in self.convs]
        widened = [F.pad(weight, ((widest - weight.shape[3]) // 2,) * 2) for weight in weights]
        bias = torch.cat([conv.get_parameter("bias") for conv in self.convs])
        return F.conv2d(logmel_B1FN, torch.cat(widened), bias, padding=(0, widest // 2))


class TemporalBank(nn.Module):
    """Map ``logmel_BFN`` to (B, 15n, N): long filters on the energy envelope (the mean over frequency), no pool."""

    def __init__(self, base: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(1, times * base, span) for span, times in TEMPORAL)
        num_filters = base * sum(times for _, times in TEMPORAL)
        self.norm = nn.BatchNorm1d(num_filters, eps=BN_EPS, momentum=BN_MOMENTUM)

    def forward(self, logmel_BFN: Tensor) -> Tensor:
        envelope_B1N = logmel_BFN.mean(dim=1, keepdim=True)
        # TensorFlow's SAME padding: an even filter gets its extra zero on the right (128: 63 and 64).
        padded = [F.pad(envelope_B1N, ((span - 1) // 2, span // 2)) for span, _ in TEMPORAL]
        h_BCN = torch.cat([conv(x_B1N) for conv, x_B1N in zip(self.convs, padded, strict=True)], dim=1)
        return self.norm(F.relu(h_BCN, inplace=True))


class DeepFrontend(nn.Module):
    """Map ``logmel_BFN`` to (B, 29n, N): five layers of zero-padded 3x3 convolution, ReLU, BN, max-pool 2 in frequency.

    The last pool covers all remaining rows. Time is not pooled, so that the back end gets as many frames as from the
    musical filters; this is what makes the maps large. The paper does not state the number of layers and channels:
    these are ours.
    """

    def __init__(self, base: int) -> None:
        super().__init__()
        channels = [times * base for times in DEEP]
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise([1, *channels]))
        self.norms = nn.ModuleList(nn.BatchNorm2d(c, eps=BN_EPS, momentum=BN_MOMENTUM) for c in channels)

    def forward(self, logmel_BFN: Tensor) -> Tensor:
        h_BCRN = logmel_BFN.unsqueeze(1)
        last = len(self.convs) - 1
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h_BCRN = norm(F.relu(conv(h_BCRN), inplace=True))
            h_BCRN = F.max_pool2d(h_BCRN, (h_BCRN.shape[2] if i == last else 2, 1))
        return h_BCRN.squeeze(2)


class SpectrogramTagger(nn.Module):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``.

    Dials: SpectrogramDials. The 29n features are those of the timbral filters, tall ones first, then the temporal ones;
    or the output of the deep front end.
    """

    Dials = SpectrogramDials

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        check_whole(num_tags=num_tags)
        self.dials = SpectrogramDials(**dials)
        base = self.dials.base_filters
        self.log_mel = LogMel(self.dials.log_mel_mean, self.dials.log_mel_std)
        self.spec_augment: nn.Module = nn.Identity()
        if self.dials.frontend == "deep3x3":
            self.deep = DeepFrontend(base)
        else:
            self.timbral = nn.ModuleList(TimbralBank(height, base) for height in TIMBRAL_HEIGHTS)
            self.temporal = TemporalBank(base)
        self.backend = Backend(FEATURES * base, num_tags, self.dials)
        self.apply(init_he_truncated)
        set_norm_momentum(self, self.dials.norm_momentum)

    def features(self, logmel_BFN: Tensor) -> Tensor:
        """Run the front end: ``logmel_BFN`` -> ``features_BCN``, with the same N."""
        if self.dials.frontend == "deep3x3":
            return self.deep(logmel_BFN)
        tall_and_short = [bank(one_channel(logmel_BFN)) for bank in self.timbral]
        return torch.cat([*tall_and_short, self.temporal(logmel_BFN)], dim=1)

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_length(wave_BT.shape[1], self.dials.min_input_len)
        return self.backend(self.features(self.spec_augment(self.log_mel(wave_BT))))
