"""Kaldi's log-mel filter bank, batched on the training device: the front end of SSAST, AST and COMP-520's RNNs.

Shapes: B batch, T samples, L samples of a frame (400), N frames, Q frequency bins, F mel bins (128). ``wave_BT`` is
mono 16 kHz in [-1, 1]; neither system scales it to 16-bit integers. Frames are 25 ms long, every 10 ms, and lie wholly
inside the clip ("snip edges"): T samples give ``(T - 400) // 160 + 1`` frames, 998 for 10 s.

Up to fp32 rounding it equals ``torchaudio.compliance.kaldi.fbank`` (window ``hanning``, 128 bins, dither 0; its
``htk_compat`` only moves an energy column, which is not used) and ``ASTFeatureExtractor`` of transformers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.compliance.kaldi import get_mel_banks

from genrescale.audio import SAMPLE_RATE
from genrescale.models.parts.exact import exactly

NUM_MELS = 128
FRAME_LEN = 400
HOP_LEN = 160
N_FFT = 512
LOW_HZ = 20.0
PREEMPHASIS = 0.97
# Kaldi's floor before the log: the machine epsilon of fp32.
FLOOR = torch.finfo(torch.float32).eps
# Mean and standard deviation of a corpus's fbank values, as published by the authors of AST and SSAST.
NORMALISATIONS = {
    "audioset": (-4.2677393, 4.5689974),
    "esc50": (-6.6268077, 5.358466),
    "speechcommands": (-6.845978, 5.5654526),
}


def num_frames(num_samples: int) -> int:
    """Return the number of frames in ``num_samples`` samples; 0 if not even one fits."""
    return max(0, (num_samples - FRAME_LEN) // HOP_LEN + 1)


def min_samples(frames: int) -> int:
    """Return the fewest samples that give ``frames`` frames."""
    return FRAME_LEN + (frames - 1) * HOP_LEN


def check_fbank(normalisation: str, frames: int) -> None:
    """Raise ValueError for an unknown normalisation or an invalid number of frames."""
    if normalisation not in NORMALISATIONS:
        raise ValueError(f"normalisation={normalisation!r} is none of {sorted(NORMALISATIONS)}")
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 0:
        raise ValueError(f"frames={frames!r} must be a whole number, e.g. 1024, or 0 to keep the clip's own frames")


class KaldiFbank(nn.Module):
    """Compute ``fbank_BNF`` = (log mel energy - mean) / (2 std) from ``wave_BT``, float32, for T of at least 400.

    ``normalisation`` names the mean and std. ``frames`` cuts longer clips, and pads shorter ones with zeros at the end,
    *before* the normalisation as the authors' loaders do (with AudioSet's constants the padding becomes 0.467); 0 keeps
    the clip's own frames. ``remove_mean`` first subtracts the clip's mean: SSAST does, AST and COMP-520 do not.

    Computed in float32 with autocast off; no gradients flow to the waveform. On a CPU, clips are processed one by one,
    so that the frames of a clip stay in the cache; those of a whole batch would go to memory four times.
    """

    window_L: Tensor
    bank_QF: Tensor

    def __init__(self, normalisation: str = "audioset", frames: int = 0, remove_mean: bool = False) -> None:
        super().__init__()
        check_fbank(normalisation, frames)
        self.mean, self.std = NORMALISATIONS[normalisation]
        self.frames, self.remove_mean = frames, remove_mean
        bank_FQ, _ = get_mel_banks(NUM_MELS, N_FFT, float(SAMPLE_RATE), LOW_HZ, 0.0, 100.0, -500.0, 1.0)
        # Kaldi's mel triangles give the Nyquist bin no weight.
        self.register_buffer("bank_QF", F.pad(bank_FQ, (0, 1)).T.contiguous(), persistent=False)
        self.register_buffer("window_L", torch.hann_window(FRAME_LEN, periodic=False), persistent=False)

    @torch.no_grad()
    def forward(self, wave_BT: Tensor, spec_augment: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the normalised ``fbank_BNF``.

        ``spec_augment`` maps the raw (B, F, N) to a masked one; cells that it sets to 0 are normalised as padding is.
        """
        if wave_BT.shape[1] < FRAME_LEN:
            raise ValueError(
                f"input of {wave_BT.shape[1]} samples is too short: a frame needs {FRAME_LEN} samples (25 ms)"
            )
        with exactly(wave_BT):
            raw_BNF = self.raw(wave_BT.float())
            if self.frames:
                raw_BNF = F.pad(raw_BNF, (0, 0, 0, self.frames - raw_BNF.shape[1]))
            if spec_augment is not None:
                raw_BNF = spec_augment(raw_BNF.transpose(1, 2)).transpose(1, 2)
            return (raw_BNF - self.mean) / (2 * self.std)

    def raw(self, wave_BT: Tensor) -> Tensor:
        """Return the log mel energies (B, N, F) of all frames, before normalisation."""
        if wave_BT.device.type == "cpu":
            return torch.cat([self._log_mel(wave_1T) for wave_1T in wave_BT.split(1)])
        return self._log_mel(wave_BT)

    def _log_mel(self, wave_BT: Tensor) -> Tensor:
        if self.remove_mean:
            wave_BT = wave_BT - wave_BT.mean(dim=1, keepdim=True)
        # Kaldi subtracts a frame's mean m, then applies pre-emphasis:
        # (x[i] - m) - .97 (x[i-1] - m) = (x[i] - .97 x[i-1]) - .03 m. The bracket does not depend on the frame, so it
        # is computed once. A frame's first sample needs no care: the window is zero there.
        emphasised_BT = F.pad(wave_BT[:, 1:] - PREEMPHASIS * wave_BT[:, :-1], (1, 0))
        mean_BN1 = wave_BT.unfold(1, FRAME_LEN, HOP_LEN).mean(dim=2, keepdim=True)
        padded_BNQ = wave_BT.new_zeros(*mean_BN1.shape[:2], N_FFT)
        framed_BNL = padded_BNQ[..., :FRAME_LEN]
        torch.sub(emphasised_BT.unfold(1, FRAME_LEN, HOP_LEN), (1 - PREEMPHASIS) * mean_BN1, out=framed_BNL)
        framed_BNL.mul_(self.window_L)
        spectrum_BNQ = torch.fft.rfft(padded_BNQ)
        power_BNQ = spectrum_BNQ.real.square().addcmul_(spectrum_BNQ.imag, spectrum_BNQ.imag)
        return (power_BNQ @ self.bank_QF).clamp_(min=FLOOR).log_()
