"""Drum patterns: convert a description and its grid to hits. Patterns repeat every bar, with small variations."""

from __future__ import annotations

import numpy as np

from genrescale.data.synthesis.describe import SongDescription
from genrescale.data.synthesis.score import Grid, Hit

# The two halves of a son clave, in sixteenths of a 4/4 bar.
CLAVES = ((0, 6, 12), (4, 8, 14))


def play_drums(song: SongDescription, grid: Grid, rng: np.random.Generator) -> list[Hit]:
    """Return all hits of the kit (by ``song.beat``) and of the hand percussion."""
    hits: list[Hit] = []
    if song.kit != "none":
        for drum, velocities in PATTERNS[song.beat](song, grid, rng).items():
            hits += _repeat(grid, drum, velocities, rng)
    if song.percussion:
        hits += _repeat(grid, "conga", _conga(grid, rng), rng)
        hits += _repeat(grid, "shaker", _every(grid, 2, 0.3), rng)
    return hits


def _repeat(grid: Grid, drum: str, bar: np.ndarray, rng: np.random.Generator) -> list[Hit]:
    """Return the hits of one drum, given its velocities over one bar (bar,); 0 is silent."""
    velocity_S = bar[grid.in_bar_S] * rng.uniform(0.8, 1.0, len(grid.steps_S))
    played = np.flatnonzero(velocity_S)
    return [Hit(float(grid.times_S[i]), drum, float(velocity_S[i])) for i in played]


def _every(grid: Grid, steps: int, velocity: float, offset: int = 0) -> np.ndarray:
    return np.where(np.arange(grid.bar) % steps == offset % steps, velocity, 0.0)


def _hats(song: SongDescription, grid: Grid) -> np.ndarray:
    """Hi-hats in quarters, eighths or sixteenths by density, louder on the beat."""
    steps = 1 if song.density > 0.72 and song.tempo_bpm < 135 else 2 if song.density > 0.2 else grid.beat
    return np.maximum(_every(grid, steps, 0.3), _every(grid, grid.beat, 0.45))


def _kick(song: SongDescription, grid: Grid, rng: np.random.Generator) -> np.ndarray:
    bar = np.zeros(grid.bar)
    bar[0] = 1.0
    offbeats = np.arange(2, grid.bar, 2)
    chance = np.where(offbeats % grid.beat == 0, 0.3 * (1 - song.syncopation), 0.5 * song.syncopation)
    bar[offbeats[rng.random(len(offbeats)) < chance]] = 0.8
    return bar


def _backbeat(song: SongDescription, grid: Grid, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Snare on every second beat (2 and 4 of four); with an odd number of beats, the last has none."""
    snare = np.zeros(grid.bar)
    snare[grid.beat :: 2 * grid.beat] = 1.0
    kick = np.where(snare > 0, 0.0, _kick(song, grid, rng))
    return {"kick": kick, "snare": snare, "hat": _hats(song, grid)}


def _floor(song: SongDescription, grid: Grid, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Kick on every beat, hi-hat between."""
    clap = np.zeros(grid.bar)
    if rng.random() < 0.6:
        clap[grid.beat :: 2 * grid.beat] = 0.6
    between = _every(grid, grid.beat, 0.5, offset=grid.beat // 2)
    return {"kick": _every(grid, grid.beat, 1.0), "clap": clap, "open hat": between}


def _ride(song: SongDescription, grid: Grid, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Jazz ride cymbal: every beat, and the swung eighth before each odd beat."""
    ride = _every(grid, grid.beat, 0.6)
    ride[grid.beat + grid.beat // 2 :: 2 * grid.beat] = 0.45
    snare = np.where(rng.random(grid.bar) < 0.08, 0.3, 0.0)
    return {"ride": ride, "hat": np.roll(_every(grid, 2 * grid.beat, 0.4), grid.beat), "snare": snare}


def _clave(song: SongDescription, grid: Grid, rng: np.random.Generator) -> dict[str, np.ndarray]:
    rim = np.zeros(grid.bar)
    half = CLAVES[int(rng.integers(2))]
    rim[[step for step in half if step < grid.bar]] = 0.8
    kick = np.zeros(grid.bar)
    kick[0] = 0.7
    kick[[step for step in (6, 8, 14) if step < grid.bar]] = 0.55
    return {"rim": rim, "kick": kick, "hat": _every(grid, 2, 0.25)}


def _sparse(song: SongDescription, grid: Grid, rng: np.random.Generator) -> dict[str, np.ndarray]:
    kick = np.zeros(grid.bar)
    kick[0] = 0.7
    tick = np.where(rng.random(grid.bar) < 0.12, 0.35, 0.0)
    tick[grid.beat] = 0.35
    return {"kick": kick, "rim" if song.kit == "acoustic" else "hat": tick}


def _conga(grid: Grid, rng: np.random.Generator) -> np.ndarray:
    """A repeated hand-drum figure on about half of the eighths."""
    return np.where((np.arange(grid.bar) % 2 == 0) & (rng.random(grid.bar) < 0.6), rng.uniform(0.4, 0.9, grid.bar), 0.0)


PATTERNS = {"backbeat": _backbeat, "floor": _floor, "ride": _ride, "clave": _clave, "sparse": _sparse}
