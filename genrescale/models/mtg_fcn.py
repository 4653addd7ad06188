"""``mtg_fcn``: the baseline of MTG-Jamendo (Bogdanov et al. 2019), so that its checkpoints can be used.

It has the layers of ``fcn`` with ELU in place of ReLU, on the mel spectrogram of the data set: 12 kHz, transforms of
512 every 256 samples (symmetric Hann window, zero-padded start), 96 Slaney bands of equal area from 0 to 6 kHz, 20
log10 of the power, at least -200. Published input: the middle 29.1 s of a song. Shortest input: 27.3 s (1,280 frames).

Source: github.com/MTG/mtg-jamendo-dataset, scripts/baseline/model.py and scripts/melspectrograms.py. Essentia makes the
spectrogram there; here torch does, from 16 kHz. Neither a checkpoint nor Essentia was available to compare with: names,
shapes and settings follow the source, the numbers are not verified. Differences: logits, no sigmoid; their dropout is a
new module in every pass, hence active in evaluation too, ours is not; longer inputs leave several frames, and the
maximum over them is taken.

Shapes: B batch, T samples, R bins of the Fourier transform, C channels, F mel bins, N frames, K tags.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks
from torchaudio.transforms import Resample

from genrescale.audio import SAMPLE_RATE
from genrescale.models.fcn import CHANNELS, POOLS
from genrescale.models.parts.backend import check_length, check_whole, set_norm_momentum
from genrescale.models.parts.blocks import CnnDials, ConvPool2d
from genrescale.models.parts.exact import exactly

RATE = 12_000
N_FFT, HOP_LEN, NUM_MELS = 512, 256, 96
POWER_FLOOR = 1e-10
MIN_FRAMES = math.prod(frames for _, frames in POOLS)


@dataclass(frozen=True, kw_only=True)
class MtgFcnDials(CnnDials):
    """CnnDials, with channel counts that must stay whole."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scaled(*CHANNELS)

    @property
    def min_input_len(self) -> int:
        return math.ceil((MIN_FRAMES - 1) * HOP_LEN * SAMPLE_RATE / RATE)


class MtgMel(nn.Module):
    """Compute ``logmel_BFN`` from ``wave_BT`` at 16 kHz: 20 log10 of the mel power at 12 kHz."""

    window: Tensor
    bank_RF: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.resample = Resample(SAMPLE_RATE, RATE)
        bank_RF = melscale_fbanks(N_FFT // 2 + 1, 0.0, RATE / 2, NUM_MELS, RATE, norm="slaney", mel_scale="slaney")
        self.register_buffer("window", torch.hann_window(N_FFT, periodic=False), persistent=False)
        self.register_buffer("bank_RF", bank_RF, persistent=False)

    def forward(self, wave_BT: Tensor) -> Tensor:
        with exactly(wave_BT):
            low_BT = self.resample(wave_BT.float())
            spectrum_BRN = torch.stft(
                low_BT, N_FFT, HOP_LEN, window=self.window, center=True, pad_mode="constant", return_complex=True
            )
            power_BRN = spectrum_BRN.real.square() + spectrum_BRN.imag.square()
            power_BFN = torch.matmul(self.bank_RF.T, power_BRN)
            return 20 * power_BFN.clamp(min=POWER_FLOOR).log10()


class MtgFcn(nn.Module):
    """Map ``wave_BT`` (float32) to ``logits_BK``, for any T of at least ``dials.min_input_len``. Dials: MtgFcnDials."""

    Dials = MtgFcnDials
    masked_value = None  # SpecAugment fills with the clip's mean, because 0 dB would be loud

    def __init__(self, num_tags: int, **dials: Any) -> None:
        super().__init__()
        self.dials = MtgFcnDials(**dials)
        check_whole(num_tags=num_tags)
        channels = self.dials.scaled(*CHANNELS)
        self.log_mel = MtgMel()
        self.spec_augment: nn.Module = nn.Identity()
        self.spec_bn = nn.BatchNorm2d(1)
        self.layer1 = ConvPool2d(1, channels[0], POOLS[0])
        self.layer2 = ConvPool2d(channels[0], channels[1], POOLS[1])
        self.layer3 = ConvPool2d(channels[1], channels[2], POOLS[2])
        self.layer4 = ConvPool2d(channels[2], channels[3], POOLS[3])
        self.layer5 = ConvPool2d(channels[3], channels[4], POOLS[4])
        self.dropout = nn.Dropout(self.dials.dropout)
        self.dense = nn.Linear(channels[4], num_tags)
        set_norm_momentum(self, self.dials.norm_momentum)

    def forward(self, wave_BT: Tensor) -> Tensor:
        check_length(wave_BT.shape[1], self.dials.min_input_len)
        h_BCFN = self.spec_bn(self.spec_augment(self.log_mel(wave_BT)).unsqueeze(1))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4, self.layer5):
            # ELU and max-pool commute; ELU after the pool has fewer cells to process
            h_BCFN = F.elu(F.max_pool2d(layer.bn(layer.conv(h_BCFN)), layer.pool))
        return self.dense(self.dropout(h_BCFN.amax(dim=(2, 3))))
