"""The lengths of songs as their headers tell them, before anything is decoded.

Those of songs on this machine; ``header_lengths.py`` says which headers tell one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genrescale.audio import SAMPLE_RATE, Song
from genrescale.data.decoding.decode import too_short
from genrescale.data.sharding.header_lengths import told_seconds

_MOST = 20_000
"""Songs that are asked, evenly over the corpus: a few seconds on a local disk."""
_READERS = 16


@dataclass(frozen=True, eq=False)
class Census:
    """The songs whose headers tell a length, and their lengths in seconds."""

    songs: Sequence[Song]
    seconds_N: np.ndarray

    def short(self, min_s: float) -> dict[str, str]:
        """Return key -> reason of the songs that will be quarantined as shorter than ``min_s``."""
        lengths = zip(self.songs, self.seconds_N.tolist(), strict=True)
        return {song.key: too_short(seconds, min_s) for song, seconds in lengths if seconds < min_s}

    def sentence(self, min_s: float) -> str:
        """Say how many songs are shorter than ``min_s``; "" if none is."""
        if not (count := int((self.seconds_N < min_s).sum())):
            return ""
        low, middle, high = np.quantile(self.seconds_N, (0.0, 0.5, 1.0)).tolist()
        return (
            f"{count:,} of {len(self.songs):,} songs whose headers tell a length are shorter than min_s={min_s:g} and "
            f"go to quarantine; lengths are {low:.2f} to {high:.2f} s, the median is {middle:.2f} s"
        )


def take_census(songs: Sequence[Song]) -> Census:
    """Read the headers of at most _MOST songs."""
    local = [song for song in songs if "://" not in song.path]
    asked = local[:: max(1, math.ceil(len(local) / _MOST))]
    with ThreadPoolExecutor(_READERS) as pool:
        told = list(pool.map(told_seconds, [Path(song.path) for song in asked]))
    known = [(song, seconds) for song, seconds in zip(asked, told, strict=True) if seconds]
    seconds_N = np.array([seconds for _, seconds in known], np.float64)
    # a decoder may round up to a whole sample
    return Census([song for song, _ in known], np.ceil(seconds_N * SAMPLE_RATE) / SAMPLE_RATE)
