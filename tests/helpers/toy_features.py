"""Baselines without Ray: features and fits in this process, and a corpus whose songs are told apart by their pitch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from helpers.toy_runs import SPLITS, shard_waves

from genrescale.audio import SAMPLE_RATE, Vocabulary
from genrescale.baselines.extractors import Extractor
from genrescale.data.manifest import Manifest
from genrescale.data.reading.crops import SongTable, read_crops

NUM_SONGS = 40
PITCHED = Vocabulary.of_classes(["high", "low"], exclusive=True)


def pitched_corpus(folder: Path) -> Manifest:
    """40 songs of half a second: a low or a high tone under noise, the tone being the song's one tag."""
    rng, waves, labels = np.random.default_rng(0), [], []
    for i in range(NUM_SONGS):
        low = i // len(SPLITS) % 2 == 0 if SPLITS[i % len(SPLITS)] == "validation" else i % 2 == 0
        time_T = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
        waves.append(
            0.2 * np.sin(2 * np.pi * (300 if low else 3000) * time_T) + 0.02 * rng.standard_normal(len(time_T))
        )
        labels.append({"low" if low else "high": 1.0})
    return shard_waves(folder, waves, labels, PITCHED)


@dataclass
class Looking:
    """``extract_vectors`` in this process; ``seen`` are the keys of the songs that were looked at."""

    seen: list[str]

    def __call__(self, manifest: Manifest, rows: np.ndarray, extractor: Extractor) -> Iterator[tuple[int, np.ndarray]]:
        table = SongTable.of(manifest, rows)
        for song in range(len(rows)):
            pcm_T = read_crops(table, np.array([song]), np.array([0]), int(table.len_N[song]))[0]
            self.seen.append(table.keys[song].as_py())
            yield song, extractor.vector(pcm_T)


def one_by_one(function: Callable[..., Any], items: Sequence[Any], *arrays: np.ndarray) -> Iterator[Any]:
    """``distribute.Tasks`` in this process."""
    return (function(item, *arrays) for item in items)
