"""Statistics of the log-mel spectrogram of a whole song: the features of the linear floor.

Shapes: T samples, F mel bins, N frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genrescale.models.parts.frontend import PONS_MEL
from genrescale.models.parts.log_mels import log_mels

STATISTICS = ("mean", "std", "change", "p10", "p50", "p90")
"""Of each band over time; ``change`` is the mean absolute difference between neighbouring frames, 16 ms apart."""
_FRAMES = 3750  # one minute: of a long song, no more spectrogram is made at once


@dataclass(frozen=True)
class LogMelStatistics:
    """STATISTICS of the 96 bands that the spectrogram model sees, before normalisation: 576 numbers."""

    name: str = "log_mel"
    definition: str = f"1: {PONS_MEL}"

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(f"{what}_{band}" for what in STATISTICS for band in range(PONS_MEL.num_mels))

    def vector(self, pcm_T: np.ndarray) -> np.ndarray:
        part_len = _FRAMES * PONS_MEL.hop_len
        parts = [pcm_T[low : low + part_len] for low in range(0, max(1, len(pcm_T)), part_len)]
        mel_FN = np.concatenate(log_mels(parts), axis=1)
        change_F = np.abs(np.diff(mel_FN, axis=1)).mean(axis=1) if mel_FN.shape[1] > 1 else np.zeros(len(mel_FN))
        low_F, middle_F, high_F = np.percentile(mel_FN, (10, 50, 90), axis=1)
        values = (mel_FN.mean(axis=1), mel_FN.std(axis=1), change_F, low_F, middle_F, high_F)
        return np.concatenate(values).astype(np.float32)
