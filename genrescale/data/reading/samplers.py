"""Samplers: which songs make an epoch, in which order. Pure functions of a random generator; no audio, no Ray.

A sampler draws ``order_E``: the song of each of an epoch's E entries. Every draw starts anew from (seed, epoch), so any
epoch can be drawn without those before it, and a run resumes anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from genrescale.config.numbers import ceil_div


class Sampler(Protocol):
    @property
    def num_entries(self) -> int:
        """E, the same in every epoch."""
        ...

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """``order_E``, rows of songs."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Every song once, in any order."""

    num_songs: int

    @property
    def num_entries(self) -> int:
        return self.num_songs

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.num_songs)


@dataclass(frozen=True, eq=False)
class ClassAware:
    """Every class as often as every other, as in the MediaEval 2020 study (usc-sail) after Shen et al. 2016.

    Classes come in shuffled rounds; a visit takes the next ``songs_per_visit`` songs of the class, which come in
    shuffled rounds too. An epoch has max(songs of a class) * classes / ``shorten`` entries. A song of several classes
    is drawn for each; one of none is never drawn; a class without songs is not visited. In the study, the rounds of an
    epoch go on in the next (seed 0); here every epoch begins new ones, as it must be drawn without those before it.

    ``songs_M`` are the songs of class 0, then of class 1, ...; those of class k end at ``ends_K[k]``.
    """

    songs_M: np.ndarray
    ends_K: np.ndarray
    songs_per_visit: int = 3
    shorten: int = 4

    @classmethod
    def of(cls, labels_NK: np.ndarray) -> ClassAware:
        """``labels_NK`` > 0 where a song has a class. Raises ValueError if no song has any."""
        classes_M, songs_M = np.nonzero(labels_NK.T > 0)
        counts_K = np.bincount(classes_M, minlength=labels_NK.shape[1])
        counts_K = counts_K[counts_K > 0]
        if not len(counts_K):
            raise ValueError("sampler=class_aware needs songs with tags; none of the training songs has any")
        return cls(songs_M, np.cumsum(counts_K))

    @property
    def num_entries(self) -> int:
        longest = int(np.diff(self.ends_K, prepend=0).max())
        return max(2, longest * len(self.ends_K) // self.shorten)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        num_visits = ceil_div(self.num_entries, self.songs_per_visit)
        visited_V = rounds(rng, np.arange(len(self.ends_K)), num_visits)
        order_VS = np.empty((num_visits, self.songs_per_visit), np.int64)
        for k, songs in enumerate(np.split(self.songs_M, self.ends_K[:-1])):
            visits = np.flatnonzero(visited_V == k)
            drawn = rounds(rng, songs, len(visits) * self.songs_per_visit)
            order_VS[visits] = drawn.reshape(len(visits), self.songs_per_visit)
        return order_VS.reshape(-1)[: self.num_entries]


@dataclass(frozen=True, eq=False)
class Windows:
    """Every song once; songs of ``shards_per_window`` shards are shuffled with each other, and shards among themselves.

    A coarser shuffle, for stores that are dear to ask: what is read in a while lies in few shards, which a node fetches
    whole (``site.shard_cache``). The sequence is cut into as many lanes as a step has groups, and group g of every step
    takes from lane g: a worker, which gets whole groups, never needs the shards of another worker's lanes.
    ``shard_N`` is each song's shard.
    """

    shard_N: np.ndarray
    shards_per_window: int
    group: int
    groups_per_step: int

    @property
    def num_entries(self) -> int:
        return len(self.shard_N)

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        shards, place_N = np.unique(self.shard_N, return_inverse=True)
        window_N = (rng.permutation(len(shards)) // self.shards_per_window)[place_N]
        sequence_N = np.lexsort((rng.random(len(window_N)), window_N))
        whole = len(sequence_N) // (self.groups_per_step * self.group) * self.groups_per_step * self.group
        lanes = sequence_N[:whole].reshape(self.groups_per_step, -1, self.group)
        return np.concatenate([lanes.swapaxes(0, 1).reshape(-1), sequence_N[whole:]])


@dataclass(frozen=True, eq=False)
class Mixture:
    """Corpora mixed by weight, whatever their sizes: each has its share of an epoch's entries.

    ``part_N`` is each song's corpus. An epoch has as many entries as songs; within a corpus songs come in shuffled
    rounds, so that none comes twice before all of its corpus have come.
    """

    part_N: np.ndarray
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        counts = np.bincount(self.part_N, minlength=len(self.weights))
        if len(counts) != len(self.weights) or min(counts) < 1 or min(self.weights) <= 0:
            raise ValueError(
                f"a mixture needs a weight above 0 for each of its corpora and songs in each; it has the weights "
                f"{list(self.weights)} for corpora of {counts.tolist()} training songs"
            )

    @property
    def num_entries(self) -> int:
        return len(self.part_N)

    def shares(self) -> list[int]:
        """Entries of each corpus: its weight's part of the epoch, to within one."""
        bounds = np.cumsum(self.weights) / sum(self.weights) * self.num_entries
        return np.diff(np.round(bounds).astype(int), prepend=0).tolist()

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        songs = [np.flatnonzero(self.part_N == part) for part in range(len(self.weights))]
        return rng.permutation(np.concatenate([rounds(rng, *part) for part in zip(songs, self.shares(), strict=True)]))


def rounds(rng: np.random.Generator, values: np.ndarray, length: int) -> np.ndarray:
    """``length`` of ``values``: all of them shuffled, then all of them shuffled anew, and so on."""
    num_rounds = ceil_div(length, len(values))
    return rng.permuted(np.tile(values, (num_rounds, 1)), axis=1).reshape(-1)[:length]
