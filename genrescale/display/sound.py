"""Clips that a page plays."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from genrescale.audio import SAMPLE_RATE


def flac_bytes(clip_T: np.ndarray) -> bytes:
    """Encode a clip as FLAC: lossless, so listeners hear what the models get, and playable in every browser."""
    sink = io.BytesIO()
    soundfile.write(sink, clip_T, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return sink.getvalue()
