"""Pictures of one pixel a value, which a page stretches: log-mels, and scores by second.

Shapes: F mel bins, N frames, R rows, S columns.
"""

from __future__ import annotations

import io

import matplotlib
import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap
from PIL import Image

from genrescale.display.style import COLORS

HUES = LinearSegmentedColormap.from_list("scores", ["#f7f5ef", "#9cc3da", COLORS[0], "#06283f"])
"""Scores on paper: 0 is the paper, 1 the darkest."""
DARK_HUES = LinearSegmentedColormap.from_list("dark scores", ["#21201d", "#0b4a70", "#4fa3d1", "#e3f3fb"])
"""Scores on a dark page: 0 is the page, 1 the brightest."""


def log_mel_png(mel_FN: np.ndarray, low: float, high: float) -> bytes:
    """Draw one pixel per cell, low frequencies at the bottom; ``low`` is black, ``high`` the brightest."""
    level = np.clip((mel_FN - low) / max(high - low, 1e-9), 0, 1)
    return _png(level[::-1], matplotlib.colormaps["magma"])


def heat_png(value_RS: np.ndarray, hues: Colormap = HUES) -> bytes:
    """Draw values from 0 to 1, one pixel each, the first row on top."""
    return _png(np.clip(value_RS, 0, 1), hues)


def narrowed(values_FN: np.ndarray, columns: int) -> np.ndarray:
    """Return ``values_FN`` with at most ``columns`` columns: means of columns that lie side by side."""
    frames = values_FN.shape[1]
    if frames <= columns:
        return values_FN
    starts = np.arange(columns) * frames // columns
    return np.add.reduceat(values_FN, starts, axis=1) / np.diff(np.append(starts, frames))


def _png(level: np.ndarray, hues: Colormap) -> bytes:
    # a palette image takes a third of the bytes of RGB
    image = Image.fromarray(np.rint(255 * level).astype(np.uint8))
    image.putpalette((hues(np.arange(256))[:, :3] * 255).astype(np.uint8).tobytes())
    sink = io.BytesIO()
    image.save(sink, format="PNG", optimize=True)
    return sink.getvalue()
