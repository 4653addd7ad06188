"""Render a description to audio: ``render(song)`` is float32 (T, 2) at 44.1 kHz, a pure function."""

from __future__ import annotations

import numpy as np

from genrescale.data.synthesis.artists import stream
from genrescale.data.synthesis.beats import play_drums
from genrescale.data.synthesis.describe import Layer, Mix, SongDescription
from genrescale.data.synthesis.drums import stroke
from genrescale.data.synthesis.effects import compress, distort, level, reverb, room_noise, tape, tilt
from genrescale.data.synthesis.instruments import INSTRUMENTS, RATE, tone
from genrescale.data.synthesis.score import Hit, Note, make_grid, play, score_rng

PEAK = 0.85  # headroom, because lossy codecs overshoot
RELEASE_S = 0.05
EDGE = 512
FADE_OUT_T = np.linspace(1, 0, int(RELEASE_S * RATE), dtype=np.float32)
FADE_OUT_T.setflags(write=False)


def render(song: SongDescription) -> np.ndarray:
    """Render the song's samples (T, 2)."""
    length = round(song.duration_s * RATE)
    notes_rng, sound_rng = score_rng(song), stream(song.seed, "sound", song.index)
    grid = make_grid(song, notes_rng)
    scores = [play(layer, song, grid, notes_rng) for layer in song.layers]
    hits = play_drums(song, grid, notes_rng)
    tracks_LT = np.zeros((len(song.layers) + 1, length), dtype=np.float32)
    for layer, notes, out_T in zip(song.layers, scores, tracks_LT, strict=False):
        _render_layer(layer, notes, out_T, sound_rng)
    _render_drums(song.kit, hits, tracks_LT[-1], sound_rng)
    return np.ascontiguousarray(_mix_down(song, tracks_LT, sound_rng).T)


def midi_to_hz(pitch: float) -> float:
    """Convert a MIDI pitch to Hz: equal temperament, 69 is A4 = 440 Hz."""
    return 440.0 * 2 ** ((pitch - 69) / 12)


def _render_layer(layer: Layer, notes: list[Note], out: np.ndarray, rng: np.random.Generator) -> None:
    """Render one layer into ``out`` (T,). Each pitch is synthesised once, then cut and scaled for every note."""
    _, longest_s = INSTRUMENTS[layer.instrument]
    longest = int((min(longest_s, max((n.length_s for n in notes), default=0.0)) + RELEASE_S) * RATE)
    detune = float(rng.normal(0, 0.06))
    tones: dict[int, np.ndarray] = {}
    for note in notes:
        if note.pitch not in tones:
            tones[note.pitch] = tone(layer.instrument, midi_to_hz(note.pitch + detune), longest, layer.timbre, rng)
        _add(out, tones[note.pitch], note.start_s, note.length_s + RELEASE_S, note.velocity)
    if layer.instrument == "distorted guitar":
        out[:] = distort(out, 4.0 + 14.0 * layer.timbre[2])


def _add(out: np.ndarray, tone_T: np.ndarray, start_s: float, length_s: float, velocity: float) -> None:
    """Add one note to ``out`` in place, with a fade at its end."""
    start = int(start_s * RATE)
    count = min(len(tone_T), int(length_s * RATE), len(out) - start)
    if count <= 0:
        return
    note = tone_T[:count] * np.float32(velocity)
    fade = min(count, len(FADE_OUT_T))
    note[count - fade :] *= FADE_OUT_T[-fade:]
    out[start : start + count] += note


def _render_drums(kit: str, hits: list[Hit], out: np.ndarray, rng: np.random.Generator) -> None:
    """Render the drums into ``out`` (T,); each drum is synthesised once."""
    timbre = rng.random(3)
    strokes = {drum: stroke(drum, kit, timbre, rng) for drum in dict.fromkeys(hit.drum for hit in hits)}
    for hit in hits:
        sound = strokes[hit.drum]
        start = int(hit.start_s * RATE)
        count = min(len(sound), len(out) - start)
        out[start : start + count] += sound[:count] * np.float32(hit.velocity)


def _mix_down(song: SongDescription, tracks_LT: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mix L tracks to stereo (2, T): balance and pan, reverb, tape, equaliser, compressor, level, short fades."""
    mix = song.mix
    gains, pans = _balance(song, tracks_LT)
    angle = (pans + 1) * np.pi / 4
    sends = np.where(np.arange(len(gains)) == len(gains) - 1, 0.4, 1.0)
    buses = (np.stack([np.cos(angle), np.sin(angle), sends]) * gains).astype(np.float32)
    # einsum, because the last bits of a matrix product depend on the number of threads.
    left_right_send = np.einsum("bl,lt->bt", buses, tracks_LT)
    wet = reverb(left_right_send[2], mix.reverb_s)
    y_CT = left_right_send[:2] * np.float32(1 - 0.5 * mix.reverb) + wet * np.float32(1.1 * mix.reverb**1.3)
    y_CT = _surroundings(y_CT, mix, rng)
    y_CT = level(compress(tilt(y_CT, mix.tilt_db), mix.compression), mix.loudness_db, PEAK)
    edge = np.linspace(0, 1, EDGE, dtype=np.float32)
    y_CT[:, :EDGE] *= edge
    y_CT[:, -EDGE:] *= edge[::-1]
    return y_CT


def _balance(song: SongDescription, tracks_LT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return gains (L,) that set each track's level for any instrument, and pans (L,) in -1..1."""
    wanted_db = np.array([layer.gain_db for layer in song.layers] + [song.mix.drums_db])
    rms = np.sqrt(np.einsum("lt,lt->l", tracks_LT, tracks_LT) / tracks_LT.shape[1])
    gains = np.where(rms > 1e-5, 10 ** (wanted_db / 20) / np.maximum(rms, 1e-5), 0.0)
    pans = np.array([layer.pan for layer in song.layers] + [0.0]) * song.mix.width
    return gains, pans


def _surroundings(y_CT: np.ndarray, mix: Mix, rng: np.random.Generator) -> np.ndarray:
    """Add audience noise to a live song, and tape effects to a lo-fi one."""
    if mix.live:
        rms = np.float32(np.sqrt(np.mean(y_CT**2)))
        y_CT = y_CT + room_noise(y_CT.shape[1], rng) * rms * np.float32(rng.uniform(0.05, 0.16))
    return tape(y_CT, rng) if mix.lofi else y_CT
