"""Describe a synthetic song before it is rendered: ``describe_song(seed, index)``, a pure function."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genrescale.data.synthesis.artists import Manner, artist_of, choose, manner_of, stream
from genrescale.data.synthesis.genres import NEIGHBOURS, Profile, Weights
from genrescale.data.synthesis.subgenres import SUBGENRE_OF, profile_of

# Beats per bar and sixteenth steps per beat. The beat of 6/8 is a dotted quarter: six steps.
METRES = {"4/4": (4, 4), "3/4": (3, 4), "6/8": (2, 6), "5/4": (5, 4), "7/8": (7, 2)}
MODES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
MIN_SONG_S = 0.5

# Some keys are easier to play than others, in major and minor.
KEY_WEIGHTS = {"0": 26, "7": 22, "2": 18, "9": 10, "5": 8, "4": 5, "10": 3, "3": 3, "11": 2, "8": 1, "1": 1, "6": 1}
PROGRESSIONS = {
    "major": ((0, 3, 4, 0), (0, 5, 3, 4), (0, 4, 0, 3), (0, 3, 0, 4), (0, 0, 3, 4), (1, 4, 0, 0), (0, 0, 1, 4), (0, 4)),
    "minor": ((0, 5, 0, 6), (0, 3, 4, 0), (0, 6, 5, 0), (0, 3, 0, 4), (0, 0, 5, 6), (0, 5, 3, 4), (0, 4, 0, 3), (0, 3)),
}


@dataclass(frozen=True)
class Layer:
    """One instrument. ``role``: bass, chords, comp, lead, pad or voice. ``pan``: -1 is left, 1 is right."""

    role: str
    instrument: str
    gain_db: float
    pan: float
    octave: int
    timbre: tuple[float, float, float, float]


@dataclass(frozen=True)
class Mix:
    """The recording of the song. Shares and amounts are in [0, 1]; ``loudness_db`` is RMS relative to full scale."""

    reverb: float
    reverb_s: float
    tilt_db: float
    compression: float
    loudness_db: float
    width: float
    lofi: bool
    live: bool
    drums_db: float


@dataclass(frozen=True)
class SongDescription:
    """All that determines the sound of one song. ``swing`` and ``syncopation`` are in [0, 1], ``key`` in 0..11."""

    seed: int
    index: int
    artist: str
    genre: str
    subgenre: str
    duration_s: float
    tempo_bpm: float
    metre: str
    swing: float
    key: int
    mode: str
    chromatic: bool
    extended: bool
    progression: tuple[int, ...]
    pattern: str
    beat: str
    kit: str
    percussion: bool
    voice: str
    syncopation: float
    density: float
    layers: tuple[Layer, ...]
    mix: Mix

    @property
    def instruments(self) -> frozenset[str]:
        return frozenset(layer.instrument for layer in self.layers)


def describe_song(seed: int, index: int, min_s: float = 3.5, max_s: float = 8.0) -> SongDescription:
    """Describe song ``index`` of the corpus of ``seed``. It is the same for any size of the corpus.

    ``min_s`` and ``max_s`` limit its duration in seconds, and affect nothing else.
    """
    _check_durations(min_s, max_s)
    manner = manner_of(seed, *artist_of(seed, index))
    rng = stream(seed, "song", index)
    duration_s = min_s + (max_s - min_s) * rng.random()
    genre, subgenre = _genre(rng, manner)
    home, rhythm, harmony, sound = _facets(rng, genre, subgenre)
    voice = _keep(rng, manner, manner.voice, home.voices)
    kit = _keep(rng, manner, manner.kit, rhythm.kits)
    mode = "minor" if rng.random() < harmony.minor else "major"
    tempo_bpm = rhythm.tempo_bpm * manner.tempo_ratio * np.exp(rng.normal(0, 0.14))
    return SongDescription(
        seed=seed,
        index=index,
        artist=manner.artist,
        genre=genre,
        subgenre=subgenre,
        duration_s=duration_s,
        tempo_bpm=float(np.clip(tempo_bpm, 60, 200)),
        metre=choose(rng, rhythm.metres),
        swing=float(rng.uniform(0.6, 1.0)) if rng.random() < rhythm.swing else 0.0,
        key=int(choose(rng, KEY_WEIGHTS)),
        mode=mode,
        chromatic=bool(rng.random() < harmony.chromatic),
        extended=bool(rng.random() < harmony.extended),
        progression=PROGRESSIONS[mode][int(rng.integers(len(PROGRESSIONS[mode])))],
        pattern=choose(rng, sound.patterns),
        beat="none" if kit == "none" else choose(rng, rhythm.beats),
        kit=kit,
        percussion=bool(rng.random() < rhythm.percussion),
        voice=voice,
        syncopation=float(np.clip(rng.normal(rhythm.syncopation, 0.17), 0, 1)),
        density=float(rng.beta(2, 2)),
        layers=_layers(rng, manner, sound, voice, genre == manner.genre),
        mix=_mix(rng, manner, sound),
    )


def _check_durations(min_s: float, max_s: float) -> None:
    if not MIN_SONG_S <= min_s <= max_s:
        raise ValueError(f"min_s={min_s} and max_s={max_s} must satisfy {MIN_SONG_S} <= min_s <= max_s")


def _genre(rng: np.random.Generator, manner: Manner) -> tuple[str, str]:
    """Draw genre and subgenre: usually the artist's own, sometimes a neighbouring genre."""
    if rng.random() < 0.85:
        return manner.genre, manner.subgenre
    near = NEIGHBOURS[manner.genre]
    genre = near[int(rng.integers(len(near)))]
    return genre, choose(rng, SUBGENRE_OF.get(genre, {"": 1}))


def _facets(rng: np.random.Generator, genre: str, subgenre: str) -> tuple[Profile, Profile, Profile, Profile]:
    """Return profiles of the song, its rhythm, harmony and sound; each of the last three may be a neighbour genre's."""
    home = profile_of(genre, subgenre)
    near = NEIGHBOURS[genre]
    borrowed = rng.random(3) < 0.12
    others = [profile_of(near[int(which)]) for which in rng.integers(len(near), size=3)]
    rhythm, harmony, sound = (other if b else home for other, b in zip(others, borrowed, strict=True))
    return home, rhythm, harmony, sound


def _keep(rng: np.random.Generator, manner: Manner, habit: str, weights: Weights) -> str:
    """Return the artist's habit if this kind of song allows it and the artist is loyal to it, else a new draw."""
    fresh, loyal = choose(rng, weights), rng.random() < manner.loyalty
    return habit if loyal and habit in weights else fresh


def _layers(rng: np.random.Generator, manner: Manner, sound: Profile, voice: str, own: bool) -> tuple[Layer, ...]:
    """Draw the arrangement: always chords; bass, comping, lead, pad and voice by the profile's probabilities."""
    loyal = manner if own else Manner(**{**vars(manner), "loyalty": 0.15})
    parts: list[tuple[str, str, float, int]] = [("chords", _keep(rng, loyal, manner.chords, sound.chords), -1.0, 0)]
    bass = _keep(rng, loyal, manner.bass, sound.basses)
    lead = _keep(rng, loyal, manner.lead, sound.leads)
    comp, pad = choose(rng, sound.chords), choose(rng, {"strings": 40, "pad": 45, "organ": 15})
    chance = rng.random(3)
    if bass != "none":
        parts.append(("bass", bass, 0.0, -2))
    if chance[0] < (0.5 if voice != "none" else 0.92):
        parts.append(("lead", lead, -1.0, 1 if rng.random() < 0.55 else 0))
    if chance[1] < 0.25:
        parts.append(("comp", comp, -4.0, int(rng.integers(0, 2))))
    if chance[2] < sound.pad:
        parts.append(("pad", pad, -6.0, 0))
    if voice != "none":
        parts.append(("voice", f"{voice} voice", 1.0, -1 if voice == "low" else 0))
    return tuple(_layer(rng, manner, *part) for part in parts)


def _layer(rng: np.random.Generator, manner: Manner, role: str, instrument: str, gain_db: float, octave: int) -> Layer:
    habit = np.asarray(manner.timbre[:4])
    mixed = np.clip(0.5 * habit + 0.5 * rng.random(4) + rng.normal(0, 0.08, 4), 0, 1)
    pan = 0.0 if role in ("bass", "voice") else float(rng.uniform(-1, 1))
    bright, attack, decay, colour = mixed.tolist()
    return Layer(role, instrument, gain_db + float(rng.uniform(-9, 2)), pan, octave, (bright, attack, decay, colour))


def _mix(rng: np.random.Generator, manner: Manner, sound: Profile) -> Mix:
    live = bool(rng.random() < sound.live)
    reverb = float(np.clip(sound.reverb + manner.reverb + rng.normal(0, 0.12) + 0.15 * live, 0, 1))
    return Mix(
        reverb=reverb,
        reverb_s=float(rng.uniform(0.3, 0.8) + 1.6 * reverb),
        tilt_db=float(sound.tilt_db + manner.tilt_db + rng.normal(0, 1.5)),
        compression=float(np.clip(sound.compression + manner.compression + rng.normal(0, 0.1), 0, 1)),
        loudness_db=float(np.clip(manner.loudness_db + rng.normal(0, 2), -27, -13)),
        width=float(np.clip(manner.width + rng.normal(0, 0.15), 0, 1)),
        lofi=bool(rng.random() < sound.lofi),
        live=live,
        drums_db=float(rng.uniform(-8, 3)),
    )
