"""Convert a description to notes and drum hits. Time is in seconds from the start; pitch is a MIDI number.

S steps are sixteenths. A song starts at a random beat of a bar, like an excerpt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from genrescale.data.synthesis.artists import stream
from genrescale.data.synthesis.describe import METRES, MODES, Layer, SongDescription

MIDI_C3 = 48
SWING_SHARE = 0.165
MAX_NOTE_S = 2.0
# Sixteenths of the bar on which comped chords are played in 3/4 and in 6/8.
WALTZES = {"3/4": (0, 4, 8), "6/8": (0, 4, 6, 10)}


class Note(NamedTuple):
    """A note of a layer; ``velocity`` is a linear gain."""

    start_s: float
    length_s: float
    pitch: int
    velocity: float


class Hit(NamedTuple):
    """A stroke of a drum; ``velocity`` is a linear gain."""

    start_s: float
    drum: str
    velocity: float


@dataclass(frozen=True)
class Grid:
    """The time grid of a song: step numbers ``steps_S`` (0 is a downbeat), and their onsets ``times_S`` in seconds."""

    bar: int
    beat: int
    step_s: float
    steps_S: np.ndarray
    times_S: np.ndarray

    @property
    def in_bar_S(self) -> np.ndarray:
        return self.steps_S % self.bar


def make_grid(song: SongDescription, rng: np.random.Generator) -> Grid:
    """Make the steps of the whole song. Swing delays the off-beat eighth by up to a sixth of a beat."""
    beats, beat = METRES[song.metre]
    step_s = 60.0 / song.tempo_bpm / 4
    first = beat * int(rng.integers(beats))
    steps_S = first + np.arange(int(song.duration_s / step_s))
    place_S = steps_S % beat / beat
    if beat == 4 and song.swing > 0:
        half = 0.5 + SWING_SHARE * song.swing
        place_S = np.where(place_S < 0.5, place_S * 2 * half, half + (place_S - 0.5) * 2 * (1 - half))
    times_S = (steps_S // beat - first // beat + place_S) * beat * step_s
    kept = times_S < song.duration_s - 0.05
    return Grid(beats * beat, beat, step_s, steps_S[kept], times_S[kept])


def _strength(grid: Grid) -> np.ndarray:
    """Metrical strength in [0, 1] of the steps of a bar: downbeat, beat, off-beat eighth, sixteenth."""
    step = np.arange(grid.bar)
    strength = np.where(step % 2 == 0, 0.35, 0.1)
    strength[step % grid.beat == 0] = 0.8
    strength[0] = 1.0
    return strength


def groove(grid: Grid, rng: np.random.Generator, syncopation: float, density: float) -> np.ndarray:
    """Choose the steps of a bar (bar,) that have an onset. They repeat every bar, which makes the metre audible."""
    strength = _strength(grid)
    eighth = np.arange(grid.bar) % 2 == 0
    on = strength * (1 - syncopation) + syncopation * np.where(eighth & (strength < 0.5), 0.9, 0.25)
    chosen = rng.random(grid.bar) < on * (0.55 + 0.6 * density)
    chosen &= eighth | (rng.random(grid.bar) < syncopation * 0.5)
    chosen[0] = True
    return chosen


def chord_steps(song: SongDescription, grid: Grid) -> int:
    """Return the steps that a chord lasts: a bar, or half of a long bar that can be halved at a beat."""
    long_bar = grid.bar * grid.step_s > 1.9
    return grid.bar // 2 if long_bar and grid.bar // 2 % grid.beat == 0 else grid.bar


def chord_at(song: SongDescription, which: int) -> tuple[int, ...]:
    """Return the pitch classes (not folded) of chord number ``which``: a triad, with seventh and ninth if extended."""
    scale = MODES[song.mode]
    degree = song.progression[which % len(song.progression)]
    thirds = (0, 2, 4, 6, 8) if song.extended else (0, 2, 4)
    pitches = [scale[(degree + t) % 7] + 12 * ((degree + t) // 7) for t in thirds]
    if song.mode == "minor" and degree == 4:
        pitches[1] += 1
    shift = (0, 1, -1, 0)[which % 4] if song.chromatic else 0
    return tuple(song.key + p + shift for p in pitches)


def fold(pitch: int, low: int) -> int:
    """Move the pitch to the octave above ``low``."""
    return low + (pitch - low) % 12


def play(layer: Layer, song: SongDescription, grid: Grid, rng: np.random.Generator) -> list[Note]:
    """Return the notes of one layer, by its role."""
    if layer.role == "bass":
        return _bass(layer, song, grid, rng)
    if layer.role in ("lead", "voice"):
        return _melody(layer, song, grid, rng)
    pattern = "block" if layer.role == "pad" else song.pattern
    if layer.role == "comp":
        pattern = "arpeggio" if song.pattern == "block" else "comp"
    return _chords(layer, song, grid, rng, pattern)


def _voicing(layer: Layer, song: SongDescription, which: int) -> list[int]:
    chord = chord_at(song, which)
    if layer.instrument == "distorted guitar" and not song.extended:
        # Low thirds sound muddy with distortion: play root and fifth, and the third on top.
        root = fold(chord[0], MIDI_C3 - 10)
        return [root, root + 7, fold(chord[1], root + 10)]
    if layer.role == "pad":
        chord = chord[:3]
    elif len(chord) > 3:
        chord = chord[1:]
    return sorted(fold(p, MIDI_C3 + 5 + 12 * layer.octave) for p in chord)


def _chords(layer: Layer, song: SongDescription, grid: Grid, rng: np.random.Generator, pattern: str) -> list[Note]:
    span = chord_steps(song, grid)
    on_bar = groove(grid, rng, song.syncopation, 0.3 + 0.7 * song.density)
    order = rng.permutation(8)
    if song.metre in WALTZES and pattern == "comp":
        on_bar = np.isin(np.arange(grid.bar), WALTZES[song.metre])
    notes: list[Note] = []
    for i, (step, time) in enumerate(zip(grid.steps_S.tolist(), grid.times_S.tolist(), strict=True)):
        pitches = _voicing(layer, song, step // span)
        accent = 1.0 if step % grid.bar == 0 else 0.6 if step % grid.beat == 0 else 0.42
        held = min(grid.step_s * (span - step % span), MAX_NOTE_S)
        if pattern == "arpeggio":
            if step % 2 == 0:
                pitch = pitches[int(order[(step % span) // 2 % 8]) % len(pitches)]
                notes.append(Note(time, min(held, 4 * grid.step_s), pitch, accent))
            continue
        starts = i == 0 or (step % span == 0 if pattern == "block" else bool(on_bar[step % grid.bar]))
        if starts or (pattern == "block" and held == MAX_NOTE_S and step % grid.beat == 0):
            length = held if pattern == "block" else min(held, 2.5 * grid.step_s)
            notes += [Note(time, length, pitch, 0.6 * accent) for pitch in pitches]
    return notes


def _bass(layer: Layer, song: SongDescription, grid: Grid, rng: np.random.Generator) -> list[Note]:
    span = chord_steps(song, grid)
    walking = song.beat == "ride" or (song.swing > 0 and layer.instrument == "upright bass")
    on_bar = groove(grid, rng, song.syncopation * 0.8, song.density)
    if song.beat == "floor":
        on_bar = np.arange(grid.bar) % grid.beat == (2 if song.syncopation > 0.45 else 0)
    notes: list[Note] = []
    for step, time in zip(grid.steps_S.tolist(), grid.times_S.tolist(), strict=True):
        chord = chord_at(song, step // span)
        low = MIDI_C3 - 20
        if walking:
            if step % grid.beat == 0:
                tone = chord[(step // grid.beat) % 3] if step % span else chord[0]
                notes.append(Note(time, 0.95 * grid.beat * grid.step_s, fold(tone, low), 0.9))
        elif on_bar[step % grid.bar] or step % span == 0:
            fifth = step % span != 0 and step % 8 == 6
            accent = 1.0 if step % grid.bar == 0 else 0.6
            notes.append(Note(time, 2.4 * grid.step_s, fold(chord[2] if fifth else chord[0], low), accent))
    return notes


def _melody(layer: Layer, song: SongDescription, grid: Grid, rng: np.random.Generator) -> list[Note]:
    """Random walk over the scale, with chord tones on strong beats; chromatic songs add half steps between."""
    sung = layer.role == "voice"
    span = chord_steps(song, grid)
    on_bar = groove(grid, rng, song.syncopation * (0.6 if sung else 1.0), song.density * (0.35 if sung else 0.9))
    low = MIDI_C3 + 7 + 12 * layer.octave
    scale = sorted(fold(song.key + p, low) for p in MODES[song.mode])
    scale += [p + 12 for p in scale[:3]]
    onsets = [i for i, step in enumerate(grid.in_bar_S.tolist()) if on_bar[step]]
    if not onsets or onsets[0] > 0:
        onsets.insert(0, 0)
    ends = [grid.times_S[i] for i in onsets[1:]] + [song.duration_s]
    place, notes = int(rng.integers(len(scale))), []
    moves, half_steps = rng.integers(-2, 3, len(onsets)), rng.random(len(onsets))
    for i, end, move, half in zip(onsets, ends, moves.tolist(), half_steps.tolist(), strict=True):
        step, time = int(grid.steps_S[i]), float(grid.times_S[i])
        place = int(np.clip(place + move, 0, len(scale) - 1))
        pitch = scale[place]
        if step % grid.beat == 0 and half < 0.7:
            chord = [p % 12 for p in chord_at(song, step // span)]
            pitch = min(scale, key=lambda p: (p % 12 not in chord, abs(p - scale[place])))
        elif song.chromatic and half > 0.45:
            pitch += 1
        accent = 1.0 if step % grid.bar == 0 else 0.8
        notes.append(Note(time, min(float(end) - time, 1.4 if sung else 0.9), pitch, accent))
    return notes


def score_rng(song: SongDescription) -> np.random.Generator:
    """Return the random stream of the song's notes."""
    return stream(song.seed, "score", song.index)
