"""The vocabulary of the synthetic corpus, and the labels of a song: its true tags plus annotation noise.

The nine groups are those of the private corpus in Pons 2018, section 3.
"""

from __future__ import annotations

import numpy as np

from genrescale.audio import Tag, Vocabulary
from genrescale.data.synthesis.artists import stream
from genrescale.data.synthesis.describe import SongDescription

# Group -> its classify tags with their base rates (shares of songs, measured over 20,000 songs).
CLASSIFY_RATES = {
    "metre": {"triple metre": 0.08, "compound metre": 0.065, "odd metre": 0.04},
    "rhythm": {
        "swing": 0.185,
        "backbeat": 0.395,
        "four on the floor": 0.17,
        "syncopated": 0.245,
        "fast": 0.28,
        "slow": 0.21,
    },
    "harmony": {"minor": 0.5, "chromatic": 0.14, "extended chords": 0.245},
    "mood": {"joyful": 0.325, "sad": 0.185, "angry": 0.09, "calm": 0.185},
    "vocal-like": {"vocals": 0.485, "low voice": 0.25, "high voice": 0.235},
    "instrumentation": {
        "drums": 0.78,
        "hand percussion": 0.13,
        "piano": 0.32,
        "guitar": 0.315,
        "distorted guitar": 0.175,
        "organ": 0.145,
        "strings": 0.235,
        "brass": 0.115,
        "flute": 0.07,
        "mallets": 0.065,
        "synthesiser": 0.445,
    },
    "sonority": {"lo-fi": 0.095, "live": 0.17},
    "genre": {
        "rock": 0.22,
        "pop": 0.195,
        "electronic": 0.17,
        "jazz": 0.115,
        "classical": 0.09,
        "hip hop": 0.09,
        "folk": 0.08,
        "latin": 0.04,
    },
    "subgenre": {"metal": 0.045, "bebop": 0.035, "baroque": 0.035, "techno": 0.05, "ambient": 0.04, "bossa nova": 0.02},
}
REGRESS = {
    "danceability": "rhythm",
    "energy": "mood",
    "valence": "mood",
    "acousticness": "sonority",
    "brightness": "sonority",
    "reverberance": "sonority",
}
# This share of the classify labels is redrawn from the tag's base rate. So a rare tag stays rare; at a rate of one
# half, about half of the redrawn labels are wrong.
LABEL_NOISE = 0.08
REGRESS_JITTER = 0.05

VOCABULARY = Vocabulary(
    tuple(Tag(name, "classify", group) for group, rates in CLASSIFY_RATES.items() for name in rates)
    + tuple(Tag(name, "regress", group) for name, group in REGRESS.items())
)

ACOUSTIC = frozenset(
    {"piano", "guitar", "strings", "brass", "flute", "mallets", "upright bass", "low voice", "high voice"}
)
SYNTHETIC = frozenset({"synth lead", "pad", "synth bass"})


def label_song(song: SongDescription) -> dict[str, float]:
    """Return the labels of one song: 1.0 for the classify tags it has, and a value in [0, 1] for each regress tag."""
    rng = stream(song.seed, "labels", song.index)
    values = measures(song)
    jitter = rng.normal(0, REGRESS_JITTER, len(REGRESS))
    labels = {name: float(np.clip(values[name] + j, 0, 1)) for name, j in zip(REGRESS, jitter, strict=True)}
    carried = true_tags(song)
    for rates in CLASSIFY_RATES.values():
        redrawn, drawn = rng.random((2, len(rates)))
        for k, (name, rate) in enumerate(rates.items()):
            if (drawn[k] < rate) if redrawn[k] < LABEL_NOISE else (name in carried):
                labels[name] = 1.0
    return labels


def true_tags(song: SongDescription) -> frozenset[str]:
    """Return the classify tags that are true of the description, without noise."""
    return frozenset(name for name, holds in _facts(song).items() if holds) | {song.genre} | ({song.subgenre} - {""})


def _facts(song: SongDescription) -> dict[str, bool]:
    values, instruments = measures(song), song.instruments
    valence, energy = values["valence"], values["energy"]
    return {
        "triple metre": song.metre == "3/4",
        "compound metre": song.metre == "6/8",
        "odd metre": song.metre in ("5/4", "7/8"),
        "swing": song.swing > 0,
        "backbeat": song.beat == "backbeat",
        "four on the floor": song.beat == "floor",
        "syncopated": song.syncopation > 0.55,
        "fast": song.tempo_bpm > 132,
        "slow": song.tempo_bpm < 95,
        "minor": song.mode == "minor",
        "chromatic": song.chromatic,
        "extended chords": song.extended,
        "joyful": valence > 0.55 and energy > 0.45,
        "sad": valence < 0.42 and energy < 0.5,
        "angry": valence < 0.45 and energy > 0.66,
        "calm": energy < 0.34,
        "vocals": song.voice != "none",
        "low voice": song.voice == "low",
        "high voice": song.voice == "high",
        "drums": song.kit != "none",
        "hand percussion": song.percussion,
        "piano": "piano" in instruments,
        "guitar": "guitar" in instruments,
        "distorted guitar": "distorted guitar" in instruments,
        "organ": "organ" in instruments,
        "strings": "strings" in instruments,
        "brass": "brass" in instruments,
        "flute": "flute" in instruments,
        "mallets": "mallets" in instruments,
        "synthesiser": bool(instruments & SYNTHETIC),
        "lo-fi": song.mix.lofi,
        "live": song.mix.live,
    }


def measures(song: SongDescription) -> dict[str, float]:
    """Compute the regress tags of a description without noise, each in [0, 1]."""
    mix, instruments = song.mix, song.instruments
    tempo = (song.tempo_bpm - 60) / 140
    loud = sum(10 ** (layer.gain_db / 20) for layer in song.layers)
    soft = sum(10 ** (layer.gain_db / 20) for layer in song.layers if layer.instrument in ACOUSTIC)
    bright = float(np.mean([layer.timbre[0] for layer in song.layers]))
    drums = {"none": 0.0, "brushes": 0.25}.get(song.kit, 0.6 + (mix.drums_db + 3) / 15)
    beat = {"floor": 1.0, "backbeat": 0.75, "clave": 0.8, "ride": 0.35}.get(song.beat, 0.1)
    distorted = 1.0 if "distorted guitar" in instruments else 0.0
    energy = 0.32 * tempo + 0.25 * drums + 0.25 * distorted
    energy += 0.14 * song.density + 0.22 * mix.compression + 0.1 * bright
    valence = 0.38 * (song.mode == "major") + 0.32 * tempo + 0.22 * bright + 0.1 * (drums > 0) + 0.1 * (1 - mix.reverb)
    dance = 0.62 * beat * drums + 0.28 * np.exp(-(((song.tempo_bpm - 120) / 28) ** 2)) + 0.15 * song.syncopation
    kit_share = {"electronic": 0.0, "none": 0.5}.get(song.kit, 0.75)
    raw = {
        "danceability": dance,
        "energy": energy,
        "valence": valence - 0.1 * distorted,
        "acousticness": 0.66 * soft / loud + 0.3 * kit_share + 0.25 * (0.4 - mix.compression),
        "brightness": 0.5 + 0.06 * mix.tilt_db + 0.7 * (bright - 0.5) - 0.25 * mix.lofi,
        "reverberance": 0.85 * mix.reverb + 0.1 * mix.reverb_s,
    }
    return {name: float(np.clip(value, 0, 1)) for name, value in raw.items()}
