"""Log-mel front end, computed on the training device in fp32 (Pons et al. 2018, section 4; musicnn's settings).

Shapes: B batch, T samples, F mel bins (96), N frames. ``wave_BT`` is mono 16 kHz in [-1, 1]; frames are centred
(reflected at the ends), so T samples give ``T // 256 + 1`` frames: 188 for 3 s, 938 for 15 s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from genrescale.audio import SAMPLE_RATE

N_FFT = 512
HOP_LEN = 256
NUM_MELS = 96
LOG_GAIN = 10_000.0
# Reflection at the ends needs more samples than it reflects.
MIN_LEN = N_FFT // 2 + 1


def num_frames(num_samples: int) -> int:
    """Frames that ``num_samples`` give."""
    return num_samples // HOP_LEN + 1


def min_samples(frames: int) -> int:
    """The fewest samples that give at least ``frames`` frames."""
    return max((frames - 1) * HOP_LEN, MIN_LEN)


def check_normalisation(log_mel_mean: float, log_mel_std: float) -> None:
    """Refuse statistics that would spread NaN, or divide by zero."""
    if not (math.isfinite(log_mel_mean) and math.isfinite(log_mel_std) and log_mel_std > 0):
        raise ValueError(
            f"log_mel_mean={log_mel_mean!r} must be finite, log_mel_std={log_mel_std!r} finite and greater than 0"
        )


class LogMel(nn.Module):
    """``wave_BT`` -> ``logmel_BFN``: log10(10000 x + 1) of a Slaney power mel spectrogram, normalised by two scalars.

    The scalars are buffers, so a checkpoint carries the normalisation that it was trained with.
    """

    log_mel_mean: Tensor
    log_mel_std: Tensor

    def __init__(self, log_mel_mean: float = 0.0, log_mel_std: float = 1.0) -> None:
        super().__init__()
        check_normalisation(log_mel_mean, log_mel_std)
        self.mel = MelSpectrogram(
            sample_rate=SAMPLE_RATE,
            n_fft=N_FFT,
            hop_length=HOP_LEN,
            f_min=0.0,
            f_max=SAMPLE_RATE / 2,
            n_mels=NUM_MELS,
            power=2.0,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("log_mel_mean", torch.tensor(log_mel_mean, dtype=torch.float32))
        self.register_buffer("log_mel_std", torch.tensor(log_mel_std, dtype=torch.float32))

    def forward(self, wave_BT: Tensor) -> Tensor:
        # The mel product is a matrix product: autocast would round powers over six decades to 8 bits.
        with torch.autocast(device_type=wave_BT.device.type, enabled=False):
            power_BFN = self.mel(wave_BT.float())
            logmel_BFN = torch.log10(LOG_GAIN * power_BFN + 1.0)
            return (logmel_BFN - self.log_mel_mean) / self.log_mel_std


@torch.no_grad()
def log_mel_statistics(waves: Iterable[Tensor]) -> tuple[float, float]:
    """Mean and standard deviation of every log-mel cell of ``waves`` ((T,) or (B, T) each), read one at a time.

    Sums are kept in float64, so a million songs lose no digits. Raises ValueError where there is no audio, or
    nothing but one constant value (digital silence), by which no model can be normalised.
    """
    log_mel = LogMel()
    count, total, squares = 0, 0.0, 0.0
    for wave in waves:
        cells = log_mel(torch.atleast_2d(torch.as_tensor(wave))).double()
        count += cells.numel()
        total += cells.sum().item()
        squares += cells.square().sum().item()
    if count == 0:
        raise ValueError("log-mel statistics need at least one waveform, got none")
    mean = total / count
    variance = squares / count - mean * mean
    # Below this the difference of the two sums is rounding, not signal.
    if not variance > 1e-12 * max(1.0, mean * mean):
        raise ValueError(f"the {count} log-mel cells are all {mean:.6g}: silent audio gives no normalisation")
    return mean, math.sqrt(variance)
