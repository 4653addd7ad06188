"""Log-mel front ends, computed on the training device in fp32, with one validated record of settings for each system.

Shapes: B batch, T samples, R bins of the Fourier transform, F mel bins, N frames. ``wave_BT`` is mono 16 kHz in [-1,
1]. Frames are centred, with reflection at the ends, so T samples give ``T // hop_len + 1`` frames: with a hop of 256,
188 for 3 s and 938 for 15 s. Where a model has an input batch norm, it is a module of the model, not of these.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from genrescale.audio import SAMPLE_RATE
from genrescale.models.parts.exact import exactly

LOG_GAIN = 10_000.0
DB_FLOOR = 1e-10
NORMALISATION_DIALS = ("log_mel_mean", "log_mel_std")
Scale = Literal["slaney", "htk"]
Compression = Literal["log10", "db"]


@dataclass(frozen=True, kw_only=True)
class MelSettings:
    """Settings of a log-mel spectrogram: lengths in samples at 16 kHz, frequencies in Hz.

    ``scale``: ``slaney`` is Slaney's mel scale with bands of equal area (librosa's default); ``htk`` is the HTK formula
    with bands that peak at 1 (torchaudio's default). ``compression`` of the power x: ``log10`` is log10(10000 x + 1);
    ``db`` is 10 log10(max(x, 1e-10)), without torchaudio's ``top_db`` limit. The window is a periodic Hann window of
    ``win_len``, centred in ``n_fft``.
    """

    num_mels: int = 96
    n_fft: int = 512
    win_len: int = 512
    hop_len: int = 256
    f_min: float = 0.0
    f_max: float = SAMPLE_RATE / 2
    scale: Scale = "slaney"
    compression: Compression = "log10"

    def __post_init__(self) -> None:
        for name in ("num_mels", "n_fft", "win_len", "hop_len"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number of at least 1")
        if not self.hop_len <= self.win_len <= self.n_fft:
            raise ValueError(
                f"hop_len={self.hop_len}, win_len={self.win_len}, n_fft={self.n_fft}: the window must be at "
                "least as long as the hop (or samples are lost) and at most as long as the transform"
            )
        if not 0 <= self.f_min < self.f_max <= SAMPLE_RATE / 2:
            raise ValueError(
                f"f_min={self.f_min!r} and f_max={self.f_max!r} must satisfy 0 <= f_min < f_max <= {SAMPLE_RATE / 2}"
            )
        for name, choices in (("scale", get_args(Scale)), ("compression", get_args(Compression))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} is none of {sorted(choices)}")

    @property
    def min_len(self) -> int:
        """The fewest samples accepted: reflection needs more samples than it reflects."""
        return self.n_fft // 2 + 1

    def num_frames(self, num_samples: int) -> int:
        """Return the number of frames in ``num_samples`` samples."""
        return num_samples // self.hop_len + 1

    def min_samples(self, frames: int) -> int:
        """Return the fewest samples that give at least ``frames`` frames."""
        return max((frames - 1) * self.hop_len, self.min_len)


# Pons et al. 2018 as in musicnn-training; also Kroher et al. 2024.
PONS_MEL = MelSettings()
# Won et al. 2020: fcn, crnn and musicnn. The short-chunk models and MediaEval 2020 have 128 bins.
WON_MEL = MelSettings(scale="htk", compression="db")
WON_MEL_128 = MelSettings(scale="htk", compression="db", num_mels=128)
# The CNN of the GTZAN project: windows of 25 ms in a transform of 2048.
GTZAN_MEL = MelSettings(num_mels=128, n_fft=2048, win_len=400, hop_len=160, scale="htk", compression="db")

HOP_LEN = PONS_MEL.hop_len
NUM_MELS = PONS_MEL.num_mels
MIN_LEN = PONS_MEL.min_len
num_frames = PONS_MEL.num_frames
min_samples = PONS_MEL.min_samples


def check_normalisation(log_mel_mean: float, log_mel_std: float) -> None:
    """Raise ValueError for statistics that would give NaN or divide by zero."""
    if not (math.isfinite(log_mel_mean) and math.isfinite(log_mel_std) and log_mel_std > 0):
        raise ValueError(
            f"log_mel_mean={log_mel_mean!r} must be finite, log_mel_std={log_mel_std!r} finite and greater than 0"
        )


class RawLogMel(nn.Module):
    """Compute ``logmel_BFN`` from ``wave_BT``, not normalised: for models that normalise it by an input batch norm."""

    def __init__(self, settings: MelSettings = PONS_MEL) -> None:
        super().__init__()
        self.settings = settings
        # torchaudio makes the window and the filter bank, so checkpoints use its names.
        with warnings.catch_warnings():
            # With 128 bands on a transform of 512 one band is empty, as in the published systems.
            warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
            self.mel = MelSpectrogram(
                sample_rate=SAMPLE_RATE,
                n_fft=settings.n_fft,
                win_length=settings.win_len,
                hop_length=settings.hop_len,
                f_min=settings.f_min,
                f_max=settings.f_max,
                n_mels=settings.num_mels,
                power=2.0,
                norm="slaney" if settings.scale == "slaney" else None,
                mel_scale=settings.scale,
            )

    def forward(self, wave_BT: Tensor) -> Tensor:
        # Autocast off: it would compute the mel matrix product in bf16, with 8 bits for powers over six decades.
        with exactly(wave_BT):
            power_BFN = self._power(wave_BT.float())
            if self.settings.compression == "log10":
                return power_BFN.mul_(LOG_GAIN).add_(1.0).log10_()
            return power_BFN.clamp_(min=DB_FLOOR).log10_().mul_(10.0)

    def _power(self, wave_BT: Tensor) -> Tensor:
        """Compute the mel power (B, F, N) as ``self.mel`` does, but faster: with re² + im² instead of abs() ** 2."""
        settings = self.settings
        spectrum_BRN = torch.stft(
            wave_BT,
            settings.n_fft,
            settings.hop_len,
            settings.win_len,
            self.mel.get_buffer("spectrogram.window"),
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )
        power_BRN = spectrum_BRN.real.square() + spectrum_BRN.imag.square()
        return torch.matmul(power_BRN.transpose(1, 2), self.mel.get_buffer("mel_scale.fb")).transpose(1, 2)


class LogMel(RawLogMel):
    """Compute ``logmel_BFN`` from ``wave_BT``, normalised by a corpus's mean and deviation (``log_mel_statistics``).

    Both scalars are buffers, so a checkpoint carries the normalisation that it was trained with.
    """

    log_mel_mean: Tensor
    log_mel_std: Tensor

    def __init__(self, log_mel_mean: float = 0.0, log_mel_std: float = 1.0, settings: MelSettings = PONS_MEL) -> None:
        super().__init__(settings)
        check_normalisation(log_mel_mean, log_mel_std)
        self.register_buffer("log_mel_mean", torch.tensor(log_mel_mean, dtype=torch.float32))
        self.register_buffer("log_mel_std", torch.tensor(log_mel_std, dtype=torch.float32))

    def forward(self, wave_BT: Tensor) -> Tensor:
        with exactly(wave_BT):
            return (super().forward(wave_BT) - self.log_mel_mean) / self.log_mel_std


@torch.no_grad()
def log_mel_statistics(waves: Iterable[Tensor], settings: MelSettings = PONS_MEL) -> tuple[float, float]:
    """Compute the mean and standard deviation of all log-mel values of ``waves``, one wave at a time.

    Each wave is (T,) or (B, T). Sums are float64, so a million songs lose no precision. Raises ValueError if there is
    no audio, or if all values are equal (digital silence) and cannot normalise a model.
    """
    log_mel = RawLogMel(settings)
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
    # Below this bound, the difference of the two sums is rounding error.
    if not variance > 1e-12 * max(1.0, mean * mean):
        raise ValueError(f"the {count} log-mel values are all {mean:.6g}: silent audio cannot give a normalisation")
    return mean, math.sqrt(variance)
