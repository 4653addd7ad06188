"""Subgenres: each is its genre with several tendencies changed, so that no single attribute identifies it."""

from __future__ import annotations

from dataclasses import replace

from genrescale.data.synthesis.genres import CLASSICAL, ELECTRONIC, GENRES, JAZZ, LATIN, ROCK, Profile

SUBGENRES = {
    "metal": replace(
        ROCK,
        tempo_bpm=148,
        minor=0.95,
        chromatic=0.35,
        extended=0.01,
        chords={"distorted guitar": 97, "organ": 3},
        leads={"distorted guitar": 90, "synth lead": 10},
        voices={"none": 45, "low": 45, "high": 10},
        tilt_db=3.0,
        compression=0.85,
        live=0.08,
    ),
    "bebop": replace(
        JAZZ,
        tempo_bpm=188,
        swing=0.95,
        chromatic=0.75,
        beats={"ride": 96, "sparse": 4},
        kits={"acoustic": 80, "brushes": 20},
        leads={"brass": 72, "piano": 18, "guitar": 10},
        voices={"none": 97, "high": 3},
        syncopation=0.7,
    ),
    "baroque": replace(
        CLASSICAL,
        tempo_bpm=112,
        extended=0.0,
        chromatic=0.08,
        patterns={"arpeggio": 82, "block": 18},
        chords={"organ": 30, "strings": 30, "guitar": 25, "piano": 15},
        leads={"flute": 42, "strings": 42, "brass": 12, "organ": 4},
        kits={"none": 100},
        pad=0.15,
        reverb=0.62,
    ),
    "techno": replace(
        ELECTRONIC,
        tempo_bpm=132,
        minor=0.95,
        chromatic=0.2,
        beats={"floor": 97, "sparse": 3},
        kits={"electronic": 100},
        voices={"none": 94, "high": 6},
        syncopation=0.6,
        compression=0.85,
        pad=0.3,
    ),
    "ambient": replace(
        ELECTRONIC,
        tempo_bpm=78,
        beats={"sparse": 100},
        kits={"none": 84, "electronic": 16},
        patterns={"block": 82, "arpeggio": 18},
        chords={"pad": 66, "strings": 18, "electric piano": 10, "organ": 6},
        leads={"mallets": 36, "flute": 20, "synth lead": 24, "piano": 20},
        basses={"none": 55, "synth bass": 45},
        pad=0.85,
        voices={"none": 84, "high": 16},
        syncopation=0.1,
        reverb=0.75,
        tilt_db=-3.0,
        compression=0.2,
    ),
    "bossa nova": replace(
        LATIN,
        tempo_bpm=128,
        extended=0.9,
        chords={"guitar": 86, "piano": 14},
        leads={"flute": 44, "piano": 20, "guitar": 20, "brass": 16},
        kits={"brushes": 62, "none": 38},
        voices={"none": 30, "low": 30, "high": 40},
        beats={"clave": 100},
        tilt_db=-2.0,
        compression=0.15,
        reverb=0.22,
    ),
}
# Genre -> weights of its subgenres; "" means none.
SUBGENRE_OF = {
    "rock": {"metal": 24, "": 76},
    "electronic": {"techno": 30, "ambient": 26, "": 44},
    "jazz": {"bebop": 34, "": 66},
    "classical": {"baroque": 38, "": 62},
    "latin": {"bossa nova": 45, "": 55},
}


def profile_of(genre: str, subgenre: str = "") -> Profile:
    """Return the profile of ``subgenre`` if there is one, else of ``genre``."""
    return SUBGENRES[subgenre] if subgenre else GENRES[genre]
