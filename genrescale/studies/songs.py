"""Compare a deep model, boosted trees and the truth song by song, as Pons et al. 2018 do in section 5.1.

Three questions: which model predicts popular tags too often, which predicts tags together that exclude each other, and
what each says of single songs. Shapes: N songs, K tags, T samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genrescale.audio import Vocabulary, seconds_to_len
from genrescale.data.manifest import Manifest
from genrescale.data.reading.crops import SongTable, read_crops
from genrescale.display.html import data_uri, render_template
from genrescale.display.sound import flac_bytes
from genrescale.metrics.by_tag import ExclusivePair, exclusive_pairs, prevalence_thresholds
from genrescale.results import ScoreTable

CLIP_S = 10.0
SHOWN_SONGS = 4  # of each of the three choices
SHOWN_TAGS = 6
SHOWN_PAIRS = 12
POPULAR = 5
_CLIPPED = 1e-4  # no single score may decide how well a song is told


@dataclass(frozen=True)
class TagShare:
    """How often a tag is true, and how often each model predicts it, as shares of the test songs."""

    name: str
    true: float
    deep: float
    trees: float


@dataclass(frozen=True)
class PairCounts:
    """Two tags that (almost) no song has together, and the songs for which each model predicts both."""

    first: str
    second: str
    together: int
    deep: int
    trees: int


@dataclass(frozen=True)
class SongTold:
    """One song: its tags, the likeliest tags by both models with their scores, and a clip to listen to."""

    key: str
    artist: str
    why: str
    true: list[str]
    deep: list[tuple[str, float, bool]]
    trees: list[tuple[str, float, bool]]
    sound: str


@dataclass(frozen=True)
class SongComparison:
    """All that the page shows. ``popular`` are the most frequent tags, then the rarest."""

    deep_name: str
    trees_name: str
    num_songs: int
    shares: list[TagShare]
    pairs: list[PairCounts]
    songs: list[SongTold]

    @property
    def popularity(self) -> str:
        """A sentence about the most frequent tags."""
        top = self.shares[:POPULAR]
        true, deep, trees = (
            100 * float(np.mean([getattr(s, name) for s in top])) for name in ("true", "deep", "trees")
        )
        names = ", ".join(share.name for share in top)
        return (
            f"The {len(top)} most frequent tags ({names}) are true of {true:.0f} % of the songs on average; "
            f"{self.deep_name} predicts them for {deep:.0f} %, {self.trees_name} for {trees:.0f} %."
        )

    @property
    def exclusion(self) -> str:
        """A sentence about the tags that exclude each other."""
        if not self.pairs:
            return "No two tags that exclude each other are predicted together by either model."
        deep, trees = (sum(getattr(pair, name) for pair in self.pairs) for name in ("deep", "trees"))
        return (
            f"Of the pairs of tags that exclude each other, {self.deep_name} predicts both {deep:,} times, "
            f"{self.trees_name} {trees:,} times."
        )


def compare_songs(
    manifest: Manifest, deep: ScoreTable, trees: ScoreTable, deep_name: str, trees_name: str, seed: int = 0
) -> SongComparison:
    """Compare two models by their score tables of the same songs, in the same order.

    A tag is predicted where its score is at least one half; for pairs, for as many songs as have the tag, which takes
    the bias towards popular tags out. Raises ValueError for tables of different songs, and without tags to classify.
    """
    if deep.keys != trees.keys:
        raise ValueError(f"{deep_name} and {trees_name} were scored on different songs")
    mask_K = manifest.vocabulary.classify_K
    if not mask_K.any():
        raise ValueError(f"{manifest.uri} has no tags to classify, and only these are compared song by song")
    names = [name for name, kept in zip(manifest.vocabulary.names, mask_K, strict=True) if kept]
    true_NK = deep.true_NK[:, mask_K]
    deep_NK, trees_NK = deep.score_NK[:, mask_K], trees.score_NK[:, mask_K]
    return SongComparison(
        deep_name,
        trees_name,
        len(deep.keys),
        _shares(names, true_NK, deep_NK, trees_NK),
        _pairs(names, true_NK, deep_NK, trees_NK) if not manifest.vocabulary.exclusive else [],
        _songs(manifest, deep.keys, names, true_NK, deep_NK, trees_NK, seed),
    )


def _shares(names: Sequence[str], true_NK: np.ndarray, deep_NK: np.ndarray, trees_NK: np.ndarray) -> list[TagShare]:
    """Every tag, most frequent first."""
    columns = zip(names, true_NK.T, deep_NK.T, trees_NK.T, strict=True)
    shares = [
        TagShare(name, float(true_N.mean()), float((deep_N >= 0.5).mean()), float((trees_N >= 0.5).mean()))
        for name, true_N, deep_N, trees_N in columns
    ]
    return sorted(shares, key=lambda share: -share.true)


def _pairs(names: Sequence[str], true_NK: np.ndarray, deep_NK: np.ndarray, trees_NK: np.ndarray) -> list[PairCounts]:
    """The pairs that a model predicts together, most often predicted first."""

    def found(score_NK: np.ndarray) -> dict[tuple[str, str], ExclusivePair]:
        pairs = exclusive_pairs(true_NK, score_NK >= prevalence_thresholds(true_NK, score_NK), names)
        return {(pair.first, pair.second): pair for pair in pairs}

    deep, trees = found(deep_NK), found(trees_NK)
    both = {**trees, **deep}
    counts = [
        PairCounts(*key, pair.together, *(p[key].predicted if key in p else pair.together for p in (deep, trees)))
        for key, pair in both.items()
    ]
    return sorted(counts, key=lambda pair: -(pair.deep + pair.trees))


def _songs(
    manifest: Manifest,
    keys: Sequence[str],
    names: Sequence[str],
    true_NK: np.ndarray,
    deep_NK: np.ndarray,
    trees_NK: np.ndarray,
    seed: int,
) -> list[SongTold]:
    """The songs that one model tells much better than the other does, and some drawn from ``seed``."""
    gain_N = _loss(true_NK, trees_NK) - _loss(true_NK, deep_NK)
    order = np.argsort(-gain_N, kind="stable")
    few = min(SHOWN_SONGS, len(keys) // 3)
    rest = np.random.default_rng(seed).permutation(order[few : len(order) - few])[:few]
    chosen: list[tuple[int, str]] = [
        (song, "the deep model is closer") for song in order[:few].tolist() if gain_N[song] > 0
    ]
    chosen += [(song, "the trees are closer") for song in order[::-1][:few].tolist() if gain_N[song] < 0]
    chosen += [(song, "drawn by chance") for song in rest.tolist()]
    rows = {key: row for row, key in enumerate(manifest.songs["key"].to_pylist())}
    artists = manifest.songs["artist"].to_pylist()
    told = []
    for song, why in chosen:
        row = rows[keys[song]]
        true_K = true_NK[song] > 0
        deep, trees = (_likeliest(names, score_NK[song], true_K) for score_NK in (deep_NK, trees_NK))
        true = [name for name, has in zip(names, true_K, strict=True) if has]
        told.append(SongTold(keys[song], artists[row], why, true, deep, trees, _sound(manifest, row)))
    return told


def _loss(true_NK: np.ndarray, score_NK: np.ndarray) -> np.ndarray:
    """Cross entropy of each song (N,), averaged over tags."""
    score_NK = np.clip(score_NK, _CLIPPED, 1 - _CLIPPED)
    return -(true_NK * np.log(score_NK) + (1 - true_NK) * np.log(1 - score_NK)).mean(axis=1)


def _likeliest(names: Sequence[str], score_K: np.ndarray, true_K: np.ndarray) -> list[tuple[str, float, bool]]:
    order: list[int] = np.argsort(-score_K, kind="stable")[:SHOWN_TAGS].tolist()
    return [(names[k], float(score_K[k]), bool(true_K[k])) for k in order]


def _sound(manifest: Manifest, row: int) -> str:
    """The middle of a song as FLAC in a data URI."""
    table = SongTable.of(manifest, np.array([row]))
    length = min(seconds_to_len(CLIP_S), int(table.len_N[0]))
    start = (int(table.len_N[0]) - length) // 2
    return data_uri(flac_bytes(read_crops(table, np.array([0]), np.array([start]), length)[0]), "audio/flac")


def render_songs(comparison: SongComparison, title: str, vocabulary: Vocabulary) -> str:
    """Render the page as text: it loads nothing, and plays clips of the songs that it shows."""
    few = len(comparison.shares) > 2 * SHOWN_PAIRS
    return render_template(
        "genrescale.studies",
        {},
        "songs.html.jinja",
        title=title,
        found=comparison,
        shares=[*comparison.shares[:SHOWN_PAIRS], *comparison.shares[-SHOWN_PAIRS:]] if few else comparison.shares,
        left_out=len(comparison.shares) - 2 * SHOWN_PAIRS if few else 0,
        pairs=comparison.pairs[:SHOWN_PAIRS],
        exclusive=vocabulary.exclusive,
        clip_s=CLIP_S,
    )
