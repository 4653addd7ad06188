"""The log-mel of clips to look at, as the spectrogram model has it before normalisation.

Shapes: T samples, F mel bins, N frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from genrescale.audio import PCM_SCALE
from genrescale.models.parts.frontend import MIN_LEN, RawLogMel


def log_mels(clips: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Compute the spectrogram model's log-mel input, before normalisation: float32 (F, N) for each int16 clip (T,)."""
    front_end, mels = RawLogMel(), []
    with torch.no_grad():
        for clip_T in clips:
            wave_T = np.pad(clip_T.astype(np.float32) * PCM_SCALE, (0, max(0, MIN_LEN - len(clip_T))))
            mels.append(front_end(torch.from_numpy(wave_T)[None])[0].numpy())
    return mels
