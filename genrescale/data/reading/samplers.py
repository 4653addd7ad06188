"""Samplers: which songs make an epoch, in which order. Pure functions of a random generator, without audio or Ray.

A sampler draws ``order_E``, the song of each of an epoch's E entries. Each draw depends only on (seed, epoch), so an
epoch can be drawn without the ones before it, and a run can resume anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from genrescale.config.numbers import ceil_div


class Sampler(Protocol):
    @property
    def num_entries(self) -> int:
        """E, the number of entries; the same in every epoch."""
        ...

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw ``order_E``, rows of songs."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Every song once, in random order."""

    num_songs: int

    @property
    def num_entries(self) -> int:
        return self.num_songs

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.num_songs)


@dataclass(frozen=True, eq=False)
class ClassAware:
    """Every class equally often, as in the MediaEval 2020 study (usc-sail), after Shen et al. 2016.

    Classes are visited in shuffled rounds. A visit takes the next ``songs_per_visit`` songs of the class, also from
    shuffled rounds. An epoch has max(songs of a class) * classes / ``shorten`` entries. A song of several classes is
    drawn for each of them; a song without classes is never drawn; a class without songs is skipped. In the study,
    rounds continue from one epoch to the next (seed 0). Here every epoch starts new rounds, so that it does not depend
    on the epochs before it.

    ``songs_M`` holds the songs of class 0, then of class 1, ...; those of class k end at ``ends_K[k]``.
    """

    songs_M: np.ndarray
    ends_K: np.ndarray
    songs_per_visit: int = 3
    shorten: int = 4

    @classmethod
    def of(cls, labels_NK: np.ndarray) -> ClassAware:
        """Make the sampler from labels: a song has the classes where ``labels_NK`` > 0.

        Raises ValueError if no song has any.
        """
        classes_M, songs_M = np.nonzero(labels_NK.T > 0)
        counts_K = np.bincount(classes_M, minlength=labels_NK.shape[1])
        counts_K = counts_K[counts_K > 0]
        if not len(counts_K):
            raise ValueError("sampler=class_aware needs songs with tags, but no training song has any")
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
    """Every song once, shuffled within windows of ``shards_per_window`` shards; the shards are shuffled, too.

    The shuffle is coarser, for stores where requests are slow or costly. At any time, the songs lie in few shards,
    which a node fetches whole (``site.shard_cache``). The sequence is divided into as many lanes as a step has groups,
    and group g of every step comes from lane g. So a worker, which gets whole groups, never needs the shards of another
    worker's lanes. ``shard_N`` is each song's shard.
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
    """Songs of several corpora, mixed by weight: each corpus has a fixed share of an epoch, whatever its size.

    ``part_N`` is each song's corpus. An epoch has as many entries as there are songs. Within a corpus, songs are drawn
    in shuffled rounds, so no song repeats before all others of its corpus were drawn.
    """

    part_N: np.ndarray
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        counts = np.bincount(self.part_N, minlength=len(self.weights))
        if len(counts) != len(self.weights) or min(counts) < 1 or min(self.weights) <= 0:
            raise ValueError(
                f"a mixture needs songs and a weight above 0 for each corpus; got weights "
                f"{list(self.weights)} for corpora of {counts.tolist()} training songs"
            )

    @property
    def num_entries(self) -> int:
        return len(self.part_N)

    def shares(self) -> list[int]:
        """Return the number of entries of each corpus: its weight's share of the epoch, rounded."""
        bounds = np.cumsum(self.weights) / sum(self.weights) * self.num_entries
        return np.diff(np.round(bounds).astype(int), prepend=0).tolist()

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        songs = [np.flatnonzero(self.part_N == part) for part in range(len(self.weights))]
        return rng.permutation(np.concatenate([rounds(rng, *part) for part in zip(songs, self.shares(), strict=True)]))


def rounds(rng: np.random.Generator, values: np.ndarray, length: int) -> np.ndarray:
    """Return ``length`` of ``values``: all of them shuffled, then all of them shuffled again, and so on."""
    num_rounds = ceil_div(length, len(values))
    return rng.permuted(np.tile(values, (num_rounds, 1)), axis=1).reshape(-1)[:length]
