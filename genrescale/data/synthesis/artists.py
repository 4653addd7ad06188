"""Seeded artists. Songs of one artist share a style, so they must not be split between train and test."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np

from genrescale.data.synthesis.genres import GENRE_WEIGHTS, Weights
from genrescale.data.synthesis.subgenres import SUBGENRE_OF, profile_of

# Songs are assigned to artists in blocks, so that song i is the same for any size of the corpus.
BLOCK_SONGS = 60
BLOCK_ARTISTS = 12
TIMBRES = 5

# Every part of the synthesis has its own random stream, so that changing one part does not change the others.
STREAMS = {"deal": 0, "manner": 1, "song": 2, "score": 3, "sound": 4, "labels": 5, "file": 6}


def stream(seed: int, name: str, *indices: int) -> np.random.Generator:
    """Return the random generator of one part of the synthesis (``name`` in STREAMS) at ``indices``."""
    return np.random.default_rng([seed, STREAMS[name], *indices])


def choose(rng: np.random.Generator, weights: Weights) -> str:
    """Draw one key of ``weights`` with a probability proportional to its weight."""
    point = rng.random() * sum(weights.values())
    for name, upto in zip(weights, accumulate(weights.values()), strict=True):
        if point < upto:
            return name
    return next(reversed(list(weights)))


@dataclass(frozen=True)
class Manner:
    """The style of one artist. ``loyalty`` is how often its songs keep to it; ``timbre`` values are in [0, 1]."""

    artist: str
    genre: str
    subgenre: str
    loyalty: float
    tempo_ratio: float
    chords: str
    lead: str
    bass: str
    voice: str
    kit: str
    voice_pitch: float
    timbre: tuple[float, ...]
    tilt_db: float
    reverb: float
    compression: float
    loudness_db: float
    width: float


def artist_of(seed: int, index: int) -> tuple[int, int]:
    """Return the artist of song ``index``: block, and number in the block. Artists have 0 to about 15 songs, mean 5."""
    block, place = divmod(index, BLOCK_SONGS)
    return block, int(_deal(seed, block)[place])


@lru_cache(maxsize=64)
def _deal(seed: int, block: int) -> np.ndarray:
    rng = stream(seed, "deal", block)
    shares = rng.dirichlet(np.full(BLOCK_ARTISTS, 3.0))
    return rng.choice(BLOCK_ARTISTS, size=BLOCK_SONGS, p=shares)


@lru_cache(maxsize=256)
def manner_of(seed: int, block: int, place: int) -> Manner:
    """Draw the style of one artist, which depends on the seed only."""
    rng = stream(seed, "manner", block, place)
    genre = choose(rng, GENRE_WEIGHTS)
    subgenre = choose(rng, SUBGENRE_OF.get(genre, {"": 1}))
    profile = profile_of(genre, subgenre)
    return Manner(
        artist=f"artist-{block:05d}-{place:02d}",
        genre=genre,
        subgenre=subgenre,
        loyalty=rng.uniform(0.5, 0.85),
        tempo_ratio=float(np.exp(rng.normal(0, 0.13))),
        chords=choose(rng, profile.chords),
        lead=choose(rng, profile.leads),
        bass=choose(rng, profile.basses),
        voice=choose(rng, profile.voices),
        kit=choose(rng, profile.kits),
        voice_pitch=rng.normal(0, 2.0),
        timbre=tuple(rng.random(TIMBRES)),
        tilt_db=rng.normal(0, 2.0),
        reverb=rng.normal(0, 0.1),
        compression=rng.normal(0, 0.12),
        loudness_db=rng.normal(-18.0, 2.5),
        width=rng.uniform(0.1, 0.9),
    )
