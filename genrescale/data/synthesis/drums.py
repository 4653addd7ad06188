"""Drum sounds: ``stroke(drum, kit, timbre, rng)`` -> float32 (T,) at 44.1 kHz. Kits: acoustic, brushes, electronic."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from genrescale.data.synthesis.instruments import RATE, TIME_T


def _time(seconds: float) -> np.ndarray:
    return TIME_T[: int(seconds * RATE)]


def _noise(rng: np.random.Generator, length: int, low_hz: float, high_hz: float) -> np.ndarray:
    """White noise between two first-order band edges, unit RMS."""
    y = rng.standard_normal(length, dtype=np.float32)
    keep_low = np.float32(np.exp(-2 * np.pi * high_hz / RATE))
    keep_high = np.float32(np.exp(-2 * np.pi * low_hz / RATE))
    y = lfilter(np.array([1 - keep_low, 0], np.float32), np.array([1, -keep_low], np.float32), y)
    y = np.asarray(lfilter(np.array([1, -1], np.float32), np.array([1, -keep_high], np.float32), y))
    return y / (y.std() + np.float32(1e-9))


def _body(hz: float, drop: float, seconds: float, tail_s: float) -> np.ndarray:
    """Membrane sound: a decaying sine that falls from ``hz * (1 + drop)`` to ``hz`` in about 20 ms."""
    t = _time(seconds)
    turns = np.float32(2 * np.pi * hz) * (t - np.float32(drop * 0.02) * np.exp(-t / np.float32(0.02)))
    return np.sin(turns) * np.exp(-t / np.float32(tail_s))


def _fade(y: np.ndarray, tail_s: float) -> np.ndarray:
    return y * np.exp(-_time(1.0)[: len(y)] / np.float32(tail_s))


def kick(kit: str, timbre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Kick: electronic ones are lower and longer, acoustic ones have a beater click."""
    if kit == "electronic":
        return _body(44 + 14 * timbre[0], 3 + 3 * timbre[1], 0.4, 0.1 + 0.1 * timbre[2])
    y = _body(58 + 20 * timbre[0], 1.5 + timbre[1], 0.22, 0.05 + 0.04 * timbre[2])
    y[:400] += _noise(rng, 400, 1500, 5000) * np.linspace(0.3, 0, 400, dtype=np.float32)
    return y * np.float32(0.5 if kit == "brushes" else 1.0)


def snare(kit: str, timbre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Snare: membrane and wires; with brushes, soft wires only."""
    length = int(0.25 * RATE)
    if kit == "brushes":
        return _fade(_noise(rng, length, 1200, 7000), 0.06) * np.float32(0.13)
    low, tail = (900, 0.05) if kit == "electronic" else (1400, 0.07)
    wires = _fade(_noise(rng, length, low, 5000 + 4000 * timbre[1]), tail + 0.06 * timbre[2]) * np.float32(0.22)
    return wires + _body(165 + 50 * timbre[0], 0.6, 0.25, 0.05)[:length] * np.float32(0.5)


def clap(kit: str, timbre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Clap: three short bursts of noise, then a tail."""
    y = _noise(rng, int(0.2 * RATE), 900, 3500) * np.float32(0.25)
    t = _time(0.2)
    return y * (np.exp(-(t % np.float32(0.011)) * 250) * (t < 0.033) + np.exp(-t / np.float32(0.05)) * (t >= 0.033))


def hat(kit: str, timbre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Closed hi-hat: short bright noise."""
    y = _noise(rng, int(0.1 * RATE), 6000 - 2500 * timbre[0], 16_000)
    return _fade(y, 0.015 + 0.02 * timbre[2]) * np.float32(0.3)


def open_hat(kit: str, timbre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Open hi-hat: the same noise, longer."""
    y = _noise(rng, int(0.3 * RATE), 5500 - 2500 * timbre[0], 16_000)
    return _fade(y, 0.07 + 0.05 * timbre[2]) * np.float32(0.3)


def ride(kit: str, timbre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ride cymbal: noise, and a ping of inharmonic partials."""
    wash = _fade(_noise(rng, int(0.5 * RATE), 4000, 14_000), 0.13 + 0.1 * timbre[2]) * np.float32(0.14)
    t = _time(0.5)
    turns = t * np.float32(2 * np.pi * (2600 + 900 * timbre[0]))
    ping = np.sum([np.sin(turns * np.float32(ratio)) for ratio in (1.0, 1.48, 1.93, 2.54)], axis=0)
    return wash + ping * np.exp(-t * 9) * np.float32(0.05)


def rim(kit: str, timbre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rim click: short and dry."""
    return _body(1500 + 900 * timbre[0], 0.1, 0.05, 0.008) * np.float32(0.7)


def conga(kit: str, timbre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Conga: a tuned membrane, without noise."""
    return _body(190 + 170 * timbre[1], 0.25, 0.3, 0.05 + 0.05 * timbre[2]) * np.float32(0.8)


def shaker(kit: str, timbre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shaker: noise that swells and stops."""
    length = int(0.09 * RATE)
    swell = np.sin(np.linspace(0, np.pi, length, dtype=np.float32)) ** 2
    return _noise(rng, length, 4500, 11_000) * swell * np.float32(0.25)


DRUMS = {
    "kick": kick,
    "snare": snare,
    "clap": clap,
    "hat": hat,
    "open hat": open_hat,
    "ride": ride,
    "rim": rim,
    "conga": conga,
    "shaker": shaker,
}


def stroke(drum: str, kit: str, timbre: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Synthesise one stroke at full velocity. ``timbre`` (3,) in [0, 1]: pitch, colour, length."""
    return DRUMS[drum](kit, timbre, rng).astype(np.float32, copy=False)
