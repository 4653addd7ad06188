"""Tones of melodic instruments: ``tone(instrument, hz, length, timbre, rng)`` -> float32 (T,) near unit peak.

``timbre`` is (bright, attack, decay, colour), each in [0, 1], so that two layers of one instrument rarely sound the
same. Sustained tones last for the requested length; the mixer fades tones that it cuts.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from genrescale.config.numbers import ceil_div

RATE = 44_100
TABLE = 2048
MAX_PARTIALS = 40
Timbre = tuple[float, float, float, float]

# Formants of five vowels in Hz (low voice), with their gains.
VOWELS = {
    "a": ((700, 1.0), (1150, 0.55), (2500, 0.22)),
    "e": ((480, 1.0), (1800, 0.4), (2450, 0.25)),
    "i": ((300, 1.0), (2150, 0.3), (2900, 0.22)),
    "o": ((450, 1.0), (820, 0.5), (2500, 0.12)),
    "u": ((320, 1.0), (720, 0.3), (2300, 0.08)),
}


# Seconds since the start of a tone, long enough for every tone; read-only, because it is shared.
TIME_T = np.arange(int(2.2 * RATE), dtype=np.float32) / np.float32(RATE)
TIME_T.setflags(write=False)


def _seconds(length: int) -> np.ndarray:
    return TIME_T[:length]


def _numbers(hz: float) -> np.ndarray:
    """Return the numbers of the partials below 15 kHz, at most MAX_PARTIALS."""
    return np.arange(1, max(2, min(MAX_PARTIALS, int(15_000 / hz))) + 1, dtype=np.float32)


def wavetable(gains: np.ndarray) -> np.ndarray:
    """Compute one cycle (TABLE,) of unit peak with these gains of partials 1, 2, 3, ..."""
    spectrum = np.zeros(TABLE // 2 + 1, dtype=np.complex64)
    spectrum[1 : len(gains) + 1] = -1j * gains
    cycle = np.asarray(fft.irfft(spectrum))
    return (cycle / np.abs(cycle).max()).astype(np.float32)


def _phase(hz: float, length: int, depth: float = 0.0, rate_hz: float = 5.5, start: float = 0.0) -> np.ndarray:
    """Compute wavetable indices, with a vibrato of ``depth`` (relative to the pitch) that fades in over 0.17 s."""
    time = _seconds(length)
    cycles = time * np.float32(hz) + np.float32(start)
    if depth > 0:
        cycles_deep = np.float32(depth * hz / (2 * np.pi * rate_hz))
        swell = np.minimum(time * np.float32(6), np.float32(1)) * cycles_deep
        cycles += swell * np.sin(time * np.float32(2 * np.pi * rate_hz))
    return (cycles * np.float32(TABLE)).astype(np.int32) & (TABLE - 1)


def _rise(y: np.ndarray, seconds: float) -> np.ndarray:
    """Apply a linear attack, in place."""
    n = min(len(y), max(8, int(seconds * RATE)))
    y[:n] *= np.linspace(0, 1, n, dtype=np.float32)
    return y


def _decay(length: int, seconds: float) -> np.ndarray:
    return np.exp(_seconds(length) * np.float32(-1 / seconds))


def piano(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Piano, additive: a bright cycle that decays fast, over a dark one that rings."""
    bright, _, decay, colour = timbre
    k = _numbers(hz)
    strike = np.abs(np.sin(np.pi * k * (0.1 + 0.06 * colour))) + 0.05
    dark, light = wavetable(strike * k ** -(2.2 - 0.7 * bright)), wavetable(strike * k ** -(1.3 - 0.7 * bright))
    index = _phase(hz, length)
    ring_s = (0.35 + 0.9 * decay) * (260 / hz) ** 0.5
    y = dark[index] * _decay(length, ring_s)
    y += light[index] * _decay(length, 0.12 * ring_s + 0.03)
    return _rise(y, 0.002)


def electric_piano(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Electric piano: FM with equal carrier and modulator, and a short high ping of the tine."""
    bright, _, decay, colour = timbre
    turns = _seconds(length) * np.float32(2 * np.pi * hz)
    index = _decay(length, 0.15 + 0.3 * decay) * np.float32(0.6 + 2.2 * bright)
    y = np.sin(turns + index * np.sin(turns)) * _decay(length, 0.5 + decay)
    y += np.sin(turns * np.float32(7 + int(6 * colour))) * _decay(length, 0.04) * np.float32(0.25)
    return _rise(y, 0.002)


def mallets(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Mallets: FM with an inharmonic ratio, from marimba to bell."""
    bright, _, decay, colour = timbre
    turns = _seconds(length) * np.float32(2 * np.pi * hz)
    ratio = np.float32(3.5 + 0.5 * int(4 * colour))
    index = _decay(length, 0.05 + 0.3 * decay) * np.float32(0.8 + 2.0 * bright)
    return _rise(np.sin(turns + index * np.sin(turns * ratio)) * _decay(length, 0.12 + 0.7 * decay), 0.001)


def plucked(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Plucked string (Karplus-Strong): a noise burst in a delay line whose filter damps high partials first.

    The loop is computed in the frequency domain: pass p is the burst's spectrum times the filter to the power p.
    """
    bright, _, decay, colour = timbre
    period = max(8, round(RATE / hz))
    passes = ceil_div(length, period)
    burst = np.asarray(fft.rfft(rng.uniform(-1, 1, period).astype(np.float32)))
    k = np.arange(len(burst), dtype=np.float32)
    pluck = np.abs(np.sin(np.pi * k * (0.12 + 0.3 * colour))) / (1 + (k * hz / (900 + 5000 * bright)) ** 2)
    per_s = 1.2 / (0.25 + decay) + (k * hz / 1000) ** 1.3 * (6.0 - 4.5 * bright)
    damping = np.exp(-per_s[None, :] * (np.arange(passes, dtype=np.float32) * np.float32(period / RATE))[:, None])
    y = np.asarray(fft.irfft((burst * pluck)[None, :] * damping.astype(np.float32), n=period)).reshape(-1)[:length]
    return _rise(y / (np.abs(y[: 4 * period]).max() + 1e-6), 0.0015)


def organ(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Organ: additive drawbars (relative to the octave below: partials 1, 2, 4, 6, 8, 12, 16) with slight vibrato."""
    bright, _, _, colour = timbre
    gains = np.zeros(16, dtype=np.float32)
    for partial, gain in zip((1, 2, 4, 6, 8, 12, 16), (0.7, 1.0, 0.8, 0.5, 0.5, 0.25, 0.3), strict=True):
        gains[partial - 1] = gain * (0.25 + 0.75 * bright) ** (partial / 8) * (0.6 + 0.8 * ((colour * 7 * partial) % 1))
    table = wavetable(gains[: max(2, int(15_000 / (hz / 2)))])
    return _rise(table[_phase(hz / 2, length, depth=0.004 * colour, rate_hz=6.3)], 0.006)


def strings(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Strings: two detuned, saw-like players with vibrato and a slow attack."""
    bright, attack, _, colour = timbre
    k = _numbers(hz)
    body = 1 + 0.8 * np.cos(k * hz / (260 + 120 * colour)) * np.exp(-k * hz / 4000)
    table = wavetable(body * k ** -(1.5 - 0.6 * bright))
    y = table[_phase(hz * 1.002, length, depth=0.006, rate_hz=5.0 + colour)]
    y = y + table[_phase(hz * 0.998, length, depth=0.005, rate_hz=5.6 + colour, start=0.37)]
    return _rise(y * np.float32(0.6), 0.04 + 0.1 * attack)


def brass(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Brass, additive: brighter when louder; high partials enter late and then recede."""
    bright, attack, _, colour = timbre
    k = _numbers(hz)
    formant = 0.4 + np.exp(-(((k * hz - 1100 - 600 * colour) / 700) ** 2))
    soft, loud = wavetable(formant * k**-1.7), wavetable(formant * k ** -(0.9 - 0.4 * bright))
    index = _phase(hz, length, depth=0.003, rate_hz=5.2)
    time = _seconds(length)
    rise = np.float32(0.04 + 0.05 * attack)
    blow = time / rise * np.exp(1 - time / rise) * np.float32(0.5) + np.minimum(time / rise, 1) * np.float32(0.5)
    return _rise(soft[index] * (1 - blow * np.float32(0.7)) + loud[index] * blow, 0.02 + 0.03 * attack)


def flute(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Flute: few partials, vibrato in pitch and loudness, and breath noise."""
    bright, attack, _, colour = timbre
    table = wavetable(np.array([1.0, 0.15 + 0.5 * bright, 0.08 + 0.2 * bright, 0.03, 0.02 * bright], np.float32))
    y = table[_phase(hz, length, depth=0.005, rate_hz=5.0 + colour)]
    y *= 1 + np.float32(0.15) * np.sin(_seconds(length) * np.float32(2 * np.pi * (5.0 + colour)))
    breath = rng.standard_normal(length, dtype=np.float32)
    breath[1:] -= np.float32(0.6) * breath[:-1]
    y += breath * np.float32(0.02 + 0.05 * colour)
    return _rise(y, 0.03 + 0.06 * attack)


def synth_lead(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Synth lead: saw or pulse with a falling low-pass, as a bright cycle that fades into a dull one."""
    bright, attack, decay, colour = timbre
    k = _numbers(hz)
    shape = 1 / k if colour < 0.5 else np.abs(np.sin(np.pi * k * (0.15 + 0.35 * (colour - 0.5) * 2))) / k + 1e-4
    cutoff = 500 + 2500 * bright
    dull = wavetable(shape / (1 + (k * hz / cutoff) ** 3))
    edge = wavetable(shape / (1 + (k * hz / (4 * cutoff)) ** 3))
    index = _phase(hz, length, depth=0.002 * decay)
    sweep = _decay(length, 0.08 + 0.4 * decay)
    return _rise(dull[index] * (1 - sweep) + edge[index] * sweep, 0.004 + 0.03 * attack)


def pad(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Pad: two detuned, dull cycles with a slow attack."""
    bright, attack, _, colour = timbre
    k = _numbers(hz)[:16]
    table = wavetable(k**-1.0 / (1 + (k * hz / (350 + 1600 * bright)) ** 2) * (1 + 0.6 * np.cos(k * (1 + 3 * colour))))
    spread = 0.002 + 0.005 * colour
    y = table[_phase(hz * (1 + spread), length)] + table[_phase(hz * (1 - spread), length, start=0.4)]
    return _rise(y * np.float32(0.6), 0.06 + 0.12 * attack)


def bass_guitar(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Bass guitar: a dark plucked string."""
    bright, attack, decay, colour = timbre
    return plucked(hz, length, (0.35 * bright, attack, 0.4 + 0.6 * decay, 0.3 * colour), rng)


def upright_bass(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Upright bass: a short, dark cycle."""
    bright, _, decay, _ = timbre
    k = _numbers(hz)[:10]
    y = wavetable(k ** -(2.6 - 0.8 * bright))[_phase(hz, length)] * _decay(length, 0.15 + 0.3 * decay)
    return _rise(y, 0.008)


def synth_bass(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Synth bass: FM whose brightness decays."""
    bright, _, decay, colour = timbre
    turns = _seconds(length) * np.float32(2 * np.pi * hz)
    index = _decay(length, 0.06 + 0.2 * decay) * np.float32(1 + 4 * bright) + np.float32(0.5)
    return _rise(np.sin(turns + index * np.sin(turns * np.float32(1 + int(2.5 * colour)))), 0.003)


def _vowel_table(hz: float, vowel: str, scale: float, tilt: float) -> np.ndarray:
    k = _numbers(hz)
    gains = np.full(len(k), 0.012)
    for centre, gain in VOWELS[vowel]:
        gains += gain * np.exp(-(((k * hz - centre * scale) / (90 + 0.06 * centre)) ** 2))
    return wavetable(gains * k**-tilt)


def _voice(hz: float, length: int, timbre: Timbre, rng: np.random.Generator, scale: float) -> np.ndarray:
    """Voice: a glottal pulse through formants that glide from one vowel to another, with vibrato."""
    bright, attack, decay, colour = timbre
    first, second = rng.permutation(list(VOWELS))[:2]
    formant_scale = scale * (0.94 + 0.12 * colour)
    one, two = (_vowel_table(hz, v, formant_scale, 0.9 - 0.5 * bright) for v in (first, second))
    index = _phase(hz, length, depth=0.004 + 0.012 * decay, rate_hz=5.2 + colour)
    glide = np.clip(_seconds(length) * np.float32(5) - np.float32(0.3), 0, 1)
    y = one[index] * (1 - glide) + two[index] * glide
    return _rise(y, 0.02 + 0.05 * attack)


def low_voice(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """A voice with a long vocal tract."""
    return _voice(hz, length, timbre, rng, scale=1.0)


def high_voice(hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """A voice with a short vocal tract."""
    return _voice(hz, length, timbre, rng, scale=1.18)


# Instrument -> (tone function, longest useful tone in seconds).
INSTRUMENTS = {
    "piano": (piano, 1.2),
    "electric piano": (electric_piano, 1.2),
    "mallets": (mallets, 0.9),
    "guitar": (plucked, 1.2),
    "distorted guitar": (plucked, 1.2),
    "organ": (organ, 2.0),
    "strings": (strings, 2.0),
    "brass": (brass, 1.2),
    "flute": (flute, 1.2),
    "synth lead": (synth_lead, 1.2),
    "pad": (pad, 2.0),
    "bass guitar": (bass_guitar, 1.0),
    "upright bass": (upright_bass, 0.8),
    "synth bass": (synth_bass, 0.8),
    "low voice": (low_voice, 1.4),
    "high voice": (high_voice, 1.4),
}


def tone(instrument: str, hz: float, length: int, timbre: Timbre, rng: np.random.Generator) -> np.ndarray:
    """Synthesise one tone of ``instrument`` at ``hz``: float32, at most ``length`` samples at 44.1 kHz."""
    make, longest_s = INSTRUMENTS[instrument]
    return make(hz, min(length, int(longest_s * RATE)), timbre, rng).astype(np.float32, copy=False)
