"""Statistics of a corpus from its manifest: splits, labels, co-occurrence, durations, quarantine.

Shapes: N songs, K tags, C classify tags.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from genrescale.audio import SPLITS, Song, Tag, len_to_seconds
from genrescale.data.manifest import Manifest
from genrescale.data.quarantine import Quarantined, read_quarantine
from genrescale.data.sharding.splits import artist_overlap
from genrescale.storage.store import Store

TOP_PAIRS = 12
_EXAMPLES = 3
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


@dataclass(frozen=True)
class SplitFacts:
    """Statistics of a split: ``artists`` counts known artists, ``unknown`` songs without one.

    ``tags`` is the mean number of classify tags per song.
    """

    name: str
    songs: int
    hours: float
    artists: int
    unknown: int
    shards: int
    tags: float


@dataclass(frozen=True)
class SharedArtists:
    """Two splits and the number of artists in both."""

    first: str
    second: str
    artists: int


@dataclass(frozen=True)
class TagFacts:
    """Statistics of a tag; ``by_split`` holds song counts (classify) or means (regress) for each split of the corpus.

    ``total`` and ``share`` are over all songs (classify); ``low`` and ``high`` are the 5th and 95th percentile
    (regress).
    """

    tag: Tag
    by_split: tuple[float, ...]
    total: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """Two tags, the number of songs with both, and its ratio to the number expected for independent tags (lift)."""

    first: str
    second: str
    songs: int
    lift: float


@dataclass(frozen=True)
class QuarantineReason:
    """A reason (where songs differ by its numbers, with their range), the count of its songs, and the first of them."""

    reason: str
    songs: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Imbalance:
    """The imbalance of classify tags in use: the most common, the rarest, and the median count.

    ``effective`` is the exponential of the entropy of the tags' shares: the number of equally common tags with that
    entropy.
    """

    largest: TagFacts
    smallest: TagFacts
    median: float
    effective: float

    @property
    def ratio(self) -> float:
        return self.largest.total / self.smallest.total


def splits_of(manifest: Manifest) -> list[str]:
    """List the splits that have songs, in the usual order."""
    present = set(manifest.songs["split"].to_pylist())
    return [split for split in SPLITS if split in present]


def split_facts(manifest: Manifest) -> list[SplitFacts]:
    split_N, artist_N = manifest.column("split"), manifest.column("artist")
    classify = manifest.labels_NK[:, manifest.vocabulary.classify_K]
    shards = Counter(manifest.shards["split"].to_pylist())
    facts = []
    for split in splits_of(manifest):
        rows = np.flatnonzero(split_N == split)
        artists = set(artist_N[rows].tolist())
        facts.append(
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
    return facts


def shared_artists(manifest: Manifest) -> list[SharedArtists]:
    """Count the common artists of every pair of splits."""
    split_N, artist_N = manifest.column("split"), manifest.column("artist")
    artists = {split: set(artist_N[split_N == split].tolist()) - {""} for split in splits_of(manifest)}
    return [SharedArtists(a, b, len(artists[a] & artists[b])) for a, b in combinations(artists, 2)]


def overlap_sentence(manifest: Manifest) -> str:
    """Describe the artist overlap between splits."""
    songs = [Song("", "", artist, {}) for artist in manifest.songs["artist"].to_pylist()]
    return artist_overlap(songs, manifest.songs["split"].to_pylist()).sentence()


def tag_facts(manifest: Manifest) -> list[TagFacts]:
    """Compute statistics of all tags: classify tags, most common first, then regress tags in the vocabulary's order."""
    masks = [manifest.column("split") == split for split in splits_of(manifest)]
    rows = []
    for k, tag in enumerate(manifest.vocabulary.tags):
        values = manifest.labels_NK[:, k]
        if tag.kind == "classify":
            total = int((values > 0).sum())
            counts = tuple(float((values[mask] > 0).sum()) for mask in masks)
            rows.append(TagFacts(tag, counts, total, total / max(1, len(values)), 0.0, 1.0))
        else:
            means = tuple(float(values[mask].mean()) for mask in masks)
            low, high = np.quantile(values, [0.05, 0.95]).tolist()
            rows.append(TagFacts(tag, means, len(values), 1.0, low, high))
    return sorted(rows, key=lambda facts: (facts.tag.kind, -facts.total))


def imbalance(tags: list[TagFacts]) -> Imbalance | None:
    """Compute the imbalance of classify tags; None if fewer than two are in use."""
    used = [facts for facts in tags if facts.tag.kind == "classify" and facts.total]
    if len(used) < 2:
        return None
    totals = np.array([facts.total for facts in used], float)
    shares = totals / totals.sum()
    effective = float(np.exp(-(shares * np.log(shares)).sum()))
    return Imbalance(used[0], used[-1], float(np.median(totals)), effective)


def co_occurrence(manifest: Manifest) -> tuple[list[str], np.ndarray]:
    """Return the names of the classify tags in use and their co-occurrence, int64 (C, C).

    Entries count songs with both tags; the diagonal counts songs with the tag.
    """
    used = [
        k
        for k, tag in enumerate(manifest.vocabulary.tags)
        if tag.kind == "classify" and (manifest.labels_NK[:, k] > 0).any()
    ]
    # exact: float32 represents all counts up to 16.7 million
    has_NC = (manifest.labels_NK[:, used] > 0).astype(np.float32)
    return [manifest.vocabulary.names[k] for k in used], np.rint(has_NC.T @ has_NC).astype(np.int64)


def top_pairs(names: list[str], count_CC: np.ndarray, num_songs: int) -> list[Pair]:
    """Return the pairs of tags with the most songs in common."""
    pairs = []
    for a, b in combinations(range(len(names)), 2):
        if both := int(count_CC[a, b]):
            lift = both * num_songs / (int(count_CC[a, a]) * int(count_CC[b, b]))
            pairs.append(Pair(names[a], names[b], both, lift))
    return sorted(pairs, key=lambda pair: -pair.songs)[:TOP_PAIRS]


def quarantine_reasons(store: Store) -> list[QuarantineReason]:
    """Group the quarantine of a corpus by reason, most common first; empty if there is no quarantine."""
    by_form: dict[str, list[Quarantined]] = {}
    for song in read_quarantine(store):
        by_form.setdefault(_NUMBER.sub("…", song.reason), []).append(song)
    reasons = [
        QuarantineReason(
            _in_common([song.reason for song in songs]),
            len(songs),
            tuple(song.path or song.key for song in songs[:_EXAMPLES]),
        )
        for songs in by_form.values()
    ]
    return sorted(reasons, key=lambda reason: (-reason.songs, reason.reason))


def _in_common(reasons: Sequence[str]) -> str:
    """Return one sentence for reasons that differ by their numbers alone, with the range of each."""
    columns = zip(*map(_NUMBER.findall, reasons), strict=True)
    found = iter([sorted(set(column), key=lambda number: float(number.replace(",", ""))) for column in columns])

    def span(_: re.Match[str]) -> str:
        numbers = next(found)
        return numbers[0] if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"

    return _NUMBER.sub(span, reasons[0])
