"""Log-mel normalisation: two scalars, measured on a corpus before a run starts. They are part of the run's identity."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch

from genrescale.audio import PCM_SCALE, seconds_to_len
from genrescale.config.numbers import ceil_div
from genrescale.data.manifest import Manifest
from genrescale.data.reading.crops import SongTable, read_crops
from genrescale.models.parts.frontend import log_mel_statistics

READ_AT_ONCE = 32  # crops
NORMALISATION_SONGS = 512  # enough for two scalars: their error is far below a model's seed spread


def normalisation(manifest: Manifest, num_songs: int, crop_s: float) -> tuple[float, float]:
    """Mean and standard deviation of the log-mel cells in the middle ``crop_s`` seconds of the first train songs.

    Of ``num_songs`` at most NORMALISATION_SONGS are read: a prefix of the nested order, which is stratified.
    """
    return _measured(manifest, min(num_songs, NORMALISATION_SONGS), crop_s)


@lru_cache(maxsize=8)
def _measured(manifest: Manifest, num_songs: int, crop_s: float) -> tuple[float, float]:
    table = SongTable.of(manifest, manifest.select("train", num_songs))
    mean, std = log_mel_statistics(_middle_crops(table, seconds_to_len(crop_s)))
    # Rounded, so that the identity of a run does not hang on the last digits of a machine's FFT.
    return round(mean, 4), round(std, 4)


def _middle_crops(table: SongTable, crop_len: int) -> Iterator[torch.Tensor]:
    starts_N = np.maximum(0, table.len_N - crop_len) // 2
    for songs_n in np.array_split(np.arange(len(table)), ceil_div(len(table), READ_AT_ONCE)):
        wave_nT = read_crops(table, songs_n, starts_N[songs_n], crop_len)
        for pcm_T, length in zip(wave_nT, table.len_N[songs_n].tolist(), strict=True):
            yield torch.from_numpy(pcm_T[:length]).float() * PCM_SCALE
