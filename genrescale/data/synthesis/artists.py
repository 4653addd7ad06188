"""Seeded artists: each has a manner that its songs share, so that songs of one artist must not be split apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np

from genrescale.data.synthesis.genres import GENRE_WEIGHTS, Weights
from genrescale.data.synthesis.subgenres import SUBGENRE_OF, profile_of

# Songs are dealt to artists block by block, so that song i is the same whatever the size of the corpus.
BLOCK_SONGS = 60
BLOCK_ARTISTS = 12
TIMBRES = 5

# Sub-streams of the seed: every part of the synthesis draws from its own, so changing one leaves the others alone.
STREAMS = {"deal": 0, "manner": 1, "song": 2, "score": 3, "sound": 4, "labels": 5, "file": 6}


def stream(seed: int, name: str, *indices: int) -> np.random.Generator:
    """The random generator of one part of the synthesis (``name`` in STREAMS) at ``indices``."""
    return np.random.default_rng([seed, STREAMS[name], *indices])


def choose(rng: np.random.Generator, weights: Weights) -> str:
    """One key of ``weights``, drawn in proportion to its weight."""
    point = rng.random() * sum(weights.values())
    for name, upto in zip(weights, accumulate(weights.values()), strict=True):
        if point < upto:
            return name
    return next(reversed(list(weights)))


@dataclass(frozen=True)
class Manner:
    """Habits of one artist. ``loyalty`` is how often a song keeps to them; ``timbre`` values are in [0, 1]."""

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
    """Block and place in the block of the artist of song ``index``. Artists have 0 to about 15 songs, 5 on average."""
    block, place = divmod(index, BLOCK_SONGS)
    return block, int(_deal(seed, block)[place])


@lru_cache(maxsize=64)
def _deal(seed: int, block: int) -> np.ndarray:
    rng = stream(seed, "deal", block)
    shares = rng.dirichlet(np.full(BLOCK_ARTISTS, 3.0))
    return rng.choice(BLOCK_ARTISTS, size=BLOCK_SONGS, p=shares)


@lru_cache(maxsize=256)
def manner_of(seed: int, block: int, place: int) -> Manner:
    """The manner of one artist, from the seed alone."""
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
