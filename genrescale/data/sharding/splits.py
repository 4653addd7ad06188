"""Assign songs to train, validation and test, and order each split so that its prefixes are nested.

Splits that we make are artist-disjoint and stratified; official ones are kept. In the nested order any prefix
represents the whole split, so dataset sizes are nested: the first 100k songs are part of the first 500k.

Both follow the iterative stratification of Sechidis et al. 2011 ("On the stratification of multi-label data", ECML
PKDD): each song goes where its tags are needed most, given all songs assigned before. Differences: their method assigns
single songs, tag by tag from the rarest. ``artist_disjoint`` assigns whole artists, from the largest, by all tags at
once, weighed by rarity. ``nested_order`` starts from a song's rarest tag, as they do.

Shapes: N songs, A artists, S splits, K tags, W songs waiting to be placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genrescale.audio import SPLITS, Song

_WINDOW = 256


@dataclass(frozen=True)
class ArtistOverlap:
    """The artist overlap of official splits: artists in several splits, and held-out songs by artists of train songs.

    Songs without an artist (``unknown_songs``) cannot be compared.
    """

    artists: int
    validation_songs: int
    test_songs: int
    unknown_songs: int

    def sentence(self) -> str:
        return (
            f"{self.artists} artists are in more than one; {self.validation_songs} validation and {self.test_songs} "
            f"test songs are by artists of train songs; {self.unknown_songs} songs have no artist"
        )


def divided_groups(songs: Sequence[Song], splits: Sequence[str]) -> list[str]:
    """List the groups that are in more than one split."""
    homes: dict[str, set[str]] = {}
    for song, split in zip(songs, splits, strict=True):
        if song.group:
            homes.setdefault(song.group.casefold(), set()).add(split)
    return sorted(group for group, home in homes.items() if len(home) > 1)


def artist_overlap(songs: Sequence[Song], splits: Sequence[str]) -> ArtistOverlap:
    """Count the artist overlap of songs, given the split of each."""
    homes: dict[str, set[str]] = {}
    for song, split in zip(songs, splits, strict=True):
        homes.setdefault(song.artist.casefold(), set()).add(split)
    unknown = len([song for song in songs if not song.artist])
    homes.pop("", None)

    def shared(split: str) -> int:
        return sum(
            s == split and "train" in homes.get(song.artist.casefold(), ())
            for song, s in zip(songs, splits, strict=True)
        )

    return ArtistOverlap(sum(len(home) > 1 for home in homes.values()), shared("validation"), shared("test"), unknown)


def assign_splits(
    songs: Sequence[Song], labels_NK: np.ndarray, val_fraction: float, test_fraction: float, seed: int
) -> list[str]:
    """Return the split of every song: the official one, or ours if no song has one.

    If the official splits have no validation split, ``val_fraction`` of their train songs become one, by our rule.
    Raises ValueError if only some songs have an official split, and if a split would be empty.
    """
    official = [song.split for song in songs if song.split]
    if not official:
        splits = artist_disjoint(songs, labels_NK, (val_fraction, test_fraction), seed)
        _require_songs(
            splits, [name for name, share in zip(SPLITS, (1, val_fraction, test_fraction), strict=True) if share]
        )
        return splits
    if len(official) < len(songs):
        first = next(song.key for song in songs if not song.split)
        raise ValueError(
            f"{len(official)} songs have an official split and {len(songs) - len(official)} have none "
            f"(the first: {first}); give every song a split, or none"
        )
    unknown = sorted(set(official) - set(SPLITS))
    if unknown:
        raise ValueError(f"splits {unknown} are none of {list(SPLITS)}")
    splits = list(official)
    if val_fraction and "validation" not in splits:
        train = [i for i, split in enumerate(splits) if split == "train"]
        parts = artist_disjoint([songs[i] for i in train], labels_NK[train], (val_fraction, 0.0), seed)
        for i, part in zip(train, parts, strict=True):
            splits[i] = part
        _require_songs(splits, ["validation"])
    _require_songs(splits, ["train"])
    return splits


def _require_songs(splits: Sequence[str], required: Sequence[str]) -> None:
    empty = [name for name in required if name not in splits]
    if empty:
        raise ValueError(
            f"no song is left for {empty}: the {len(splits)} songs have too few artists (or groups) for "
            f"artist-disjoint splits; give official splits, or set the fraction of a split to 0"
        )


def artist_disjoint(
    songs: Sequence[Song], labels_NK: np.ndarray, fractions: tuple[float, float], seed: int
) -> list[str]:
    """Assign splits with about ``fractions`` (validation, test) of the songs and of every tag, with disjoint artists.

    No group is divided either: artists that share one are placed as one.

    Greedy: artists are placed from the largest to the smallest (ties in seeded order), each where the squared deviation
    from the target counts, relative to them, grows least.
    """
    artist_N = _unit_ids(songs)
    num_artists = int(artist_N.max()) + 1
    total_K = np.maximum(labels_NK.sum(axis=0, dtype=np.float64), 1e-9)
    num_tags = labels_NK.shape[1]
    # each artist's share of every tag, and of the songs, which weigh as much as all tags together
    share_AK = np.zeros((num_artists, num_tags + 1), dtype=np.float32)
    np.add.at(share_AK[:, :num_tags], artist_N, labels_NK / total_K.astype(np.float32))
    size_A = np.bincount(artist_N)
    share_AK[:, num_tags] = size_A / len(songs) * np.sqrt(num_tags)

    kept = [(s, f) for s, f in enumerate((1.0 - sum(fractions), *fractions)) if f > 0]
    fraction_S = np.array([f for _, f in kept])
    need_SK = fraction_S[:, None] * share_AK.sum(axis=0, dtype=np.float64)
    split_A = np.zeros(num_artists, dtype=np.int64)
    shuffled = np.random.default_rng(seed).permutation(num_artists)
    for a in shuffled[np.argsort(-size_A[shuffled], kind="stable")]:
        share_K = share_AK[a]
        growth_S = (share_K @ share_K - 2.0 * (need_SK @ share_K)) / fraction_S
        best = int(growth_S.argmin())
        need_SK[best] -= share_K
        split_A[a] = kept[best][0]
    return [SPLITS[s] for s in split_A[artist_N]]


def _unit_ids(songs: Sequence[Song]) -> np.ndarray:
    """Return a number (N,) for each song's artist, one for all artists that share a group.

    A song without an artist and a group counts by itself. Names that differ by upper and lower case alone are one.
    """
    joined: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := joined.get(name, name)) != name:
            joined[name] = name = joined.get(above, above)
        return name

    names = []
    for song in songs:
        artist, group = f"a{song.artist.casefold()}", f"g{song.group.casefold()}"
        names.append(artist if song.artist else group if song.group else f"k{song.key}")
        if song.artist and song.group:
            joined[root(group)] = root(artist)
    ids: dict[str, int] = {}
    return np.array([ids.setdefault(root(name), len(ids)) for name in names], dtype=np.int64)


def nested_order(labels_NK: np.ndarray, seed: int) -> np.ndarray:
    """Return a permutation (N,) of the rows such that every prefix has about the tag proportions of all rows.

    Songs are first spread evenly by their rarest tag, which is exact if each song has one tag. If songs have several
    tags, the next song is always the one of ``_WINDOW`` waiting songs that best reduces the deviation.
    """
    dealt = _deal_by_rarest_tag(labels_NK, np.random.default_rng(seed))
    one_tag = ((labels_NK == 0) | (labels_NK == 1)).all() and ((labels_NK > 0).sum(axis=1) <= 1).all()
    return dealt if one_tag else _reduce_deviation(labels_NK, dealt)


def _deal_by_rarest_tag(labels_NK: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    num_songs, num_tags = labels_NK.shape
    frequency_K = (labels_NK > 0).sum(axis=0)
    rarity_NK = np.where(labels_NK > 0, frequency_K, num_songs + 1)
    tag_N = np.where((labels_NK > 0).any(axis=1), rarity_NK.argmin(axis=1), num_tags)
    shuffled = rng.permutation(num_songs)
    tag_N = tag_N[shuffled]
    by_tag = np.argsort(tag_N, kind="stable")
    count_K = np.bincount(tag_N, minlength=num_tags + 1)
    rank_N = np.empty(num_songs)
    rank_N[by_tag] = np.arange(num_songs) - (np.cumsum(count_K) - count_K)[tag_N[by_tag]]
    phase_K = rng.random(num_tags + 1)
    return shuffled[np.argsort((rank_N + phase_K[tag_N]) / count_K[tag_N], kind="stable")]


def _reduce_deviation(labels_NK: np.ndarray, dealt: np.ndarray) -> np.ndarray:
    """Reorder ``dealt`` so that the tag counts of every prefix stay close to proportional."""
    mean_K = labels_NK.mean(axis=0, dtype=np.float64)
    scale_K = np.maximum(labels_NK.std(axis=0, dtype=np.float64), 1e-6)
    waiting = dealt[:_WINDOW].copy()
    unit_WK = (labels_NK[waiting] - mean_K) / scale_K
    deviation_K = np.zeros(labels_NK.shape[1])
    order = np.empty_like(dealt)
    for i in range(len(dealt)):
        # rounded, so that equal label sets tie on every machine, whatever its order of summation; the first one wins
        best = int(np.rint(1e6 * (unit_WK @ deviation_K)).argmin())
        order[i] = waiting[best]
        deviation_K += unit_WK[best]
        if i + _WINDOW < len(dealt):
            waiting[best] = dealt[i + _WINDOW]
            unit_WK[best] = (labels_NK[waiting[best]] - mean_K) / scale_K
        else:
            waiting[best], unit_WK[best] = waiting[-1], unit_WK[-1]
            waiting, unit_WK = waiting[:-1], unit_WK[:-1]
    return order
