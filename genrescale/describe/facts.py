"""What the manifest says about a corpus: splits, labels, co-occurrence, durations, quarantine.

Shapes: N songs, K tags, C classify tags.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from genrescale.audio import SPLITS, Song, Tag, len_to_seconds
from genrescale.data.manifest import Manifest
from genrescale.data.quarantine import read_quarantine
from genrescale.data.sharding.splits import artist_overlap
from genrescale.storage.store import Store

TOP_PAIRS = 12
_EXAMPLES = 3
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True)
class SplitFacts:
    """``artists`` counts known ones, ``unknown`` the songs without; ``tags`` is the mean of classify tags of a song."""

    name: str
    songs: int
    hours: float
    artists: int
    unknown: int
    shards: int
    tags: float


@dataclass(frozen=True)
class SharedArtists:
    """Two splits and the artists in both."""

    first: str
    second: str
    artists: int


@dataclass(frozen=True)
class TagFacts:
    """A tag with, for each split in the corpus, the songs that have it (classify) or its mean (regress).

    ``total`` and ``share`` are of all songs (classify); ``low`` and ``high`` the 5th and 95th percentile (regress).
    """

    tag: Tag
    by_split: tuple[float, ...]
    total: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """Two tags, the songs with both, and how many times as many those are as if the tags were independent."""

    first: str
    second: str
    songs: int
    lift: float


@dataclass(frozen=True)
class QuarantineReason:
    """A reason, numbers left out, with how many songs and the first of them."""

    reason: str
    songs: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Imbalance:
    """How unevenly classify tags are spread: songs of the commonest, the median and the rarest of the tags in use.

    ``effective`` is the exponential of the entropy of the tags' shares: so many equally common tags would be as even.
    """

    largest: TagFacts
    smallest: TagFacts
    median: float
    effective: float

    @property
    def ratio(self) -> float:
        return self.largest.total / self.smallest.total


def splits_of(manifest: Manifest) -> list[str]:
    """The splits that have songs, in their usual order."""
    present = set(manifest.songs["split"].to_pylist())
    return [split for split in SPLITS if split in present]


def split_facts(manifest: Manifest) -> list[SplitFacts]:
    split_N, artist_N = manifest.column("split"), manifest.column("artist")
    classify = manifest.labels_NK[:, manifest.vocabulary.classify_K]
    shards = Counter(manifest.shards["split"].to_pylist())
    found = []
    for split in splits_of(manifest):
        rows = np.flatnonzero(split_N == split)
        artists = set(artist_N[rows].tolist())
        found.append(
            SplitFacts(
                name=split,
                songs=len(rows),
                hours=len_to_seconds(int(manifest.column("num_samples")[rows].sum())) / 3600,
                artists=len(artists - {""}),
                unknown=int((artist_N[rows] == "").sum()),
                shards=shards[split],
                tags=float((classify[rows] > 0).sum(axis=1).mean()) if classify.shape[1] else 0.0,
            )
        )
    return found


def shared_artists(manifest: Manifest) -> list[SharedArtists]:
    """Artists in common, for every pair of splits."""
    split_N, artist_N = manifest.column("split"), manifest.column("artist")
    artists = {split: set(artist_N[split_N == split].tolist()) - {""} for split in splits_of(manifest)}
    return [SharedArtists(a, b, len(artists[a] & artists[b])) for a, b in combinations(artists, 2)]


def overlap_sentence(manifest: Manifest) -> str:
    """What the splits share, in words."""
    songs = [Song("", "", artist, {}) for artist in manifest.songs["artist"].to_pylist()]
    return artist_overlap(songs, manifest.songs["split"].to_pylist()).sentence()


def tag_facts(manifest: Manifest) -> list[TagFacts]:
    """Classify tags from the commonest to the rarest, then regress tags in the vocabulary's order."""
    masks = [manifest.column("split") == split for split in splits_of(manifest)]
    found = []
    for k, tag in enumerate(manifest.vocabulary.tags):
        values = manifest.labels_NK[:, k]
        if tag.kind == "classify":
            total = int((values > 0).sum())
            counts = tuple(float((values[mask] > 0).sum()) for mask in masks)
            found.append(TagFacts(tag, counts, total, total / max(1, len(values)), 0.0, 1.0))
        else:
            means = tuple(float(values[mask].mean()) for mask in masks)
            low, high = np.quantile(values, [0.05, 0.95]).tolist()
            found.append(TagFacts(tag, means, len(values), 1.0, low, high))
    return sorted(found, key=lambda facts: (facts.tag.kind, -facts.total))


def imbalance(tags: list[TagFacts]) -> Imbalance | None:
    """None where fewer than two classify tags are in use."""
    used = [facts for facts in tags if facts.tag.kind == "classify" and facts.total]
    if len(used) < 2:
        return None
    totals = np.array([facts.total for facts in used], float)
    shares = totals / totals.sum()
    effective = float(np.exp(-(shares * np.log(shares)).sum()))
    return Imbalance(used[0], used[-1], float(np.median(totals)), effective)


def co_occurrence(manifest: Manifest) -> tuple[list[str], np.ndarray]:
    """The names of the classify tags in use, and int64 (C, C): songs with both tags; on the diagonal, with the tag."""
    used = [
        k
        for k, tag in enumerate(manifest.vocabulary.tags)
        if tag.kind == "classify" and (manifest.labels_NK[:, k] > 0).any()
    ]
    # float32 sums of ones are exact up to 16.7 million songs
    has_NC = (manifest.labels_NK[:, used] > 0).astype(np.float32)
    return [manifest.vocabulary.names[k] for k in used], np.rint(has_NC.T @ has_NC).astype(np.int64)


def top_pairs(names: list[str], count_CC: np.ndarray, num_songs: int) -> list[Pair]:
    """The pairs of tags with the most songs in common."""
    pairs = []
    for a, b in combinations(range(len(names)), 2):
        if both := int(count_CC[a, b]):
            lift = both * num_songs / (int(count_CC[a, a]) * int(count_CC[b, b]))
            pairs.append(Pair(names[a], names[b], both, lift))
    return sorted(pairs, key=lambda pair: -pair.songs)[:TOP_PAIRS]


def quarantine_reasons(store: Store) -> list[QuarantineReason]:
    """The quarantine of a corpus by reason, the commonest first; empty where there is none."""
    by_reason: dict[str, list[str]] = {}
    for song in read_quarantine(store):
        by_reason.setdefault(_NUMBER.sub("…", song.reason), []).append(song.path or song.key)
    found = [QuarantineReason(why, len(paths), tuple(paths[:_EXAMPLES])) for why, paths in by_reason.items()]
    return sorted(found, key=lambda reason: (-reason.songs, reason.reason))
