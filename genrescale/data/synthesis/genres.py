"""Profiles of genres: distributions over tempo, metre, harmony, instruments, groove and mix.

Genres overlap on purpose: no single attribute identifies one, and a song may borrow from a neighbour. Weights are
relative; single numbers are probabilities unless their name has a unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

Weights = Mapping[str, float]


@dataclass(frozen=True)
class Profile:
    """Tendencies of a genre or subgenre. ``tempo_bpm`` is a median, ``tilt_db`` the mix's treble relative to bass."""

    tempo_bpm: float
    metres: Weights
    swing: float
    minor: float
    chromatic: float
    extended: float
    beats: Weights
    kits: Weights
    percussion: float
    patterns: Weights
    chords: Weights
    leads: Weights
    basses: Weights
    pad: float
    voices: Weights
    syncopation: float
    reverb: float
    lofi: float
    live: float
    tilt_db: float
    compression: float


ROCK = Profile(
    tempo_bpm=122,
    metres={"4/4": 86, "3/4": 4, "6/8": 7, "5/4": 2, "7/8": 3},
    swing=0.08,
    minor=0.4,
    chromatic=0.07,
    extended=0.08,
    beats={"backbeat": 82, "floor": 8, "sparse": 10},
    kits={"acoustic": 92, "electronic": 4, "none": 4},
    percussion=0.05,
    patterns={"comp": 60, "block": 25, "arpeggio": 15},
    chords={"distorted guitar": 48, "guitar": 26, "piano": 10, "organ": 13, "electric piano": 3},
    leads={"distorted guitar": 38, "guitar": 20, "synth lead": 8, "organ": 12, "brass": 5, "piano": 10},
    basses={"bass guitar": 95, "synth bass": 5},
    pad=0.15,
    voices={"none": 38, "low": 40, "high": 22},
    syncopation=0.3,
    reverb=0.3,
    lofi=0.08,
    live=0.25,
    tilt_db=1.0,
    compression=0.6,
)

POP = replace(
    ROCK,
    tempo_bpm=112,
    metres={"4/4": 90, "3/4": 4, "6/8": 6},
    minor=0.25,
    chromatic=0.05,
    extended=0.2,
    beats={"backbeat": 60, "floor": 30, "sparse": 10},
    kits={"acoustic": 45, "electronic": 48, "none": 7},
    percussion=0.12,
    patterns={"comp": 45, "block": 35, "arpeggio": 20},
    chords={"piano": 34, "guitar": 26, "electric piano": 14, "organ": 6, "pad": 12, "distorted guitar": 8},
    leads={"synth lead": 38, "guitar": 16, "piano": 16, "strings": 12, "mallets": 8, "brass": 8},
    basses={"bass guitar": 55, "synth bass": 45},
    pad=0.45,
    voices={"none": 22, "low": 32, "high": 46},
    reverb=0.35,
    lofi=0.03,
    live=0.06,
    tilt_db=2.0,
    compression=0.7,
)

ELECTRONIC = replace(
    POP,
    tempo_bpm=124,
    metres={"4/4": 94, "3/4": 2, "6/8": 2, "7/8": 4},
    swing=0.08,
    minor=0.75,
    chromatic=0.1,
    beats={"floor": 58, "backbeat": 22, "sparse": 20},
    kits={"electronic": 88, "acoustic": 2, "none": 10},
    patterns={"comp": 40, "block": 35, "arpeggio": 25},
    chords={"pad": 42, "synth lead": 20, "electric piano": 16, "organ": 10, "piano": 7, "strings": 5},
    leads={"synth lead": 66, "mallets": 14, "flute": 4, "piano": 8, "strings": 6},
    basses={"synth bass": 92, "none": 8},
    pad=0.5,
    voices={"none": 68, "low": 10, "high": 22},
    syncopation=0.4,
    reverb=0.42,
    live=0.02,
)

JAZZ = replace(
    ROCK,
    tempo_bpm=126,
    metres={"4/4": 70, "3/4": 14, "5/4": 13, "7/8": 3},
    swing=0.78,
    minor=0.4,
    chromatic=0.35,
    extended=0.82,
    beats={"ride": 74, "backbeat": 8, "clave": 8, "sparse": 10},
    kits={"brushes": 50, "acoustic": 38, "none": 12},
    percussion=0.08,
    patterns={"comp": 78, "block": 18, "arpeggio": 4},
    chords={"piano": 52, "guitar": 22, "organ": 12, "electric piano": 12, "mallets": 4},
    leads={"brass": 48, "piano": 18, "flute": 10, "mallets": 12, "guitar": 12},
    basses={"upright bass": 88, "bass guitar": 10, "none": 2},
    pad=0.06,
    voices={"none": 74, "low": 12, "high": 14},
    syncopation=0.55,
    reverb=0.28,
    lofi=0.12,
    live=0.35,
    tilt_db=-1.5,
    compression=0.25,
)

CLASSICAL = replace(
    JAZZ,
    tempo_bpm=100,
    metres={"4/4": 48, "3/4": 34, "6/8": 15, "5/4": 3},
    swing=0.01,
    minor=0.45,
    chromatic=0.22,
    extended=0.1,
    beats={"sparse": 100},
    kits={"none": 92, "acoustic": 8},
    percussion=0.02,
    patterns={"arpeggio": 48, "block": 40, "comp": 12},
    chords={"strings": 46, "piano": 36, "organ": 8, "guitar": 6, "brass": 4},
    leads={"strings": 38, "flute": 26, "piano": 16, "brass": 16, "mallets": 4},
    basses={"none": 60, "upright bass": 40},
    pad=0.45,
    voices={"none": 82, "low": 7, "high": 11},
    syncopation=0.1,
    reverb=0.55,
    lofi=0.08,
    live=0.3,
    tilt_db=-2.0,
    compression=0.1,
)

HIP_HOP = replace(
    POP,
    tempo_bpm=90,
    metres={"4/4": 97, "6/8": 3},
    swing=0.35,
    minor=0.82,
    chromatic=0.12,
    extended=0.32,
    beats={"backbeat": 88, "floor": 4, "sparse": 8},
    kits={"electronic": 72, "acoustic": 28},
    chords={"electric piano": 32, "piano": 24, "strings": 14, "pad": 12, "guitar": 10, "brass": 6},
    leads={"synth lead": 28, "mallets": 16, "flute": 12, "brass": 14, "strings": 12, "piano": 16},
    basses={"synth bass": 70, "bass guitar": 18, "upright bass": 12},
    voices={"none": 30, "low": 52, "high": 18},
    syncopation=0.6,
    reverb=0.2,
    lofi=0.34,
    tilt_db=-1.0,
)

FOLK = replace(
    ROCK,
    tempo_bpm=108,
    metres={"4/4": 52, "3/4": 22, "6/8": 22, "7/8": 4},
    swing=0.12,
    minor=0.22,
    chromatic=0.03,
    extended=0.06,
    beats={"sparse": 60, "backbeat": 40},
    kits={"none": 62, "brushes": 22, "acoustic": 16},
    percussion=0.22,
    patterns={"arpeggio": 52, "comp": 40, "block": 8},
    chords={"guitar": 82, "piano": 8, "organ": 6, "strings": 4},
    leads={"flute": 30, "strings": 30, "guitar": 28, "mallets": 4, "piano": 6},
    basses={"none": 45, "upright bass": 30, "bass guitar": 25},
    pad=0.1,
    voices={"none": 30, "low": 36, "high": 34},
    lofi=0.14,
    live=0.3,
    tilt_db=-0.5,
    compression=0.2,
)

LATIN = replace(
    POP,
    tempo_bpm=116,
    metres={"4/4": 88, "3/4": 4, "6/8": 8},
    swing=0.05,
    minor=0.5,
    chromatic=0.14,
    extended=0.4,
    beats={"clave": 76, "backbeat": 10, "floor": 14},
    kits={"acoustic": 46, "none": 30, "brushes": 14, "electronic": 10},
    percussion=0.8,
    patterns={"comp": 78, "arpeggio": 16, "block": 6},
    chords={"guitar": 44, "piano": 40, "electric piano": 8, "organ": 4, "brass": 6},
    leads={"brass": 44, "flute": 24, "guitar": 16, "mallets": 8, "piano": 10},
    basses={"upright bass": 45, "bass guitar": 50, "none": 5},
    pad=0.08,
    syncopation=0.78,
    reverb=0.28,
    live=0.22,
    tilt_db=0.5,
    compression=0.4,
)

GENRES = {
    "rock": ROCK,
    "pop": POP,
    "electronic": ELECTRONIC,
    "jazz": JAZZ,
    "classical": CLASSICAL,
    "hip hop": HIP_HOP,
    "folk": FOLK,
    "latin": LATIN,
}
GENRE_WEIGHTS = {
    "rock": 22,
    "pop": 19,
    "electronic": 17,
    "jazz": 12,
    "classical": 11,
    "hip hop": 8,
    "folk": 7,
    "latin": 5,
}
NEIGHBOURS = {
    "rock": ("pop", "folk"),
    "pop": ("rock", "electronic"),
    "electronic": ("pop", "hip hop"),
    "jazz": ("latin", "hip hop"),
    "classical": ("folk", "jazz"),
    "hip hop": ("electronic", "jazz"),
    "folk": ("rock", "classical"),
    "latin": ("jazz", "pop"),
}
