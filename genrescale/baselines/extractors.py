"""What makes a vector of a song: the interface of ``log_mel``, ``features`` and ``embeddings``."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Extractor(Protocol):
    """Makes a vector (F,) of the whole audio of a song; it is sent to other processes.

    ``name`` is that of its files beside the corpus. ``columns`` name the numbers, and ``definition`` changes with the
    way they are computed.
    """

    @property
    def name(self) -> str: ...

    @property
    def definition(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    def vector(self, pcm_T: np.ndarray) -> np.ndarray:
        """The features (F,) of int16 mono 16 kHz, all finite, also of silence and of a few samples."""
        ...
