"""Audio effects on float32 at 44.1 kHz: (T,) mono or (C, T) stereo with C = 2 channels."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from genrescale.config.numbers import ceil_div
from genrescale.data.synthesis.instruments import RATE

COMB_S = (0.0297, 0.0371, 0.0411, 0.0437)
ECHOES_S = ((0.0031, 0.0073, 0.0127, 0.0191), (0.0037, 0.0067, 0.0139, 0.0179))
HOP = 441


def distort(y_T: np.ndarray, drive: float) -> np.ndarray:
    """Overdrive: gain ``drive`` (1 or more) into a soft asymmetric clipper, then a 4.5 kHz low-pass as of a cabinet."""
    driven = np.tanh(y_T * np.float32(drive) + np.float32(0.12)) - np.float32(np.tanh(0.12))
    return one_pole(driven, 4500)


def one_pole(y: np.ndarray, cutoff_hz: float) -> np.ndarray:
    """First-order low-pass along the last axis."""
    keep = np.exp(-2 * np.pi * cutoff_hz / RATE)
    return _filter([1 - keep], [1, -keep], y)


def _filter(b: list[float], a: list[float], y: np.ndarray) -> np.ndarray:
    return np.asarray(lfilter(np.asarray(b, np.float32), np.asarray(a, np.float32), y, axis=-1))


def tilt(y: np.ndarray, tilt_db: float) -> np.ndarray:
    """Tilt equaliser around 900 Hz: treble up and bass down, each by half of ``tilt_db``."""
    # One first-order filter with gain 1 / up at low and up at high frequencies: y * up plus a low-passed share of y.
    up = 10 ** (tilt_db / 40)
    keep = np.exp(-2 * np.pi * 900 / RATE)
    return _filter([up + (1 / up - up) * (1 - keep), -up * keep], [1, -keep], y)


def reverb(send_T: np.ndarray, tail_s: float) -> np.ndarray:
    """Room reverb (C, T): four parallel combs that decay by 60 dB in ``tail_s``, and early echoes for each channel.

    It runs at half the sample rate: the low-passed input has no treble to lose.
    """
    half = one_pole(send_T, 4000)[::2]
    tail = np.zeros_like(half)
    for delay_s in COMB_S:
        tail += _comb(half, int(delay_s * RATE / 2), 10 ** (-3 * delay_s / tail_s))
    return np.stack([_double(_echoes(tail, times_s), len(send_T)) for times_s in ECHOES_S]) * np.float32(0.2)


def _echoes(y: np.ndarray, times_s: tuple[float, ...]) -> np.ndarray:
    """Add delayed copies of alternating sign, which makes the combs' tail denser."""
    out = y.copy()
    for sign, time_s in zip((-1, 1, -1, 1), times_s, strict=True):
        delay = int(time_s * RATE / 2)
        (np.subtract if sign < 0 else np.add)(out[delay:], y[:-delay], out=out[delay:])
    return out


def _double(y: np.ndarray, length: int) -> np.ndarray:
    """Double the sample rate by linear interpolation, to ``length`` samples."""
    out = np.empty(2 * len(y), dtype=np.float32)
    out[::2] = y
    out[1:-1:2] = (y[1:] + y[:-1]) * np.float32(0.5)
    out[-1] = y[-1]
    return out[:length]


def _blocks(y: np.ndarray, delay: int) -> np.ndarray:
    """Reshape the signal to padded rows of one delay each, so that a recursion over the delay becomes one over rows."""
    rows = ceil_div(len(y), delay)
    padded = np.zeros(rows * delay, dtype=np.float32)
    padded[: len(y)] = y
    return padded.reshape(rows, delay)


def _comb(y: np.ndarray, delay: int, gain: float) -> np.ndarray:
    rows = _blocks(y, delay)
    for now, before in zip(rows[1:], rows[:-1], strict=True):
        now += np.float32(gain) * before
    return rows.reshape(-1)[: len(y)]


def compress(y_CT: np.ndarray, amount: float) -> np.ndarray:
    """Compress by 10 ms blocks towards the song's mean level; ``amount`` 0 does nothing, 1 compresses most."""
    frames = y_CT.shape[1] // HOP
    if frames < 2:
        return y_CT
    power = np.square(y_CT[0, : frames * HOP]).reshape(frames, HOP).mean(axis=1)
    smooth = lfilter([0.25], [1, -0.75], power, zi=[0.75 * power[:8].mean()])[0] + 1e-7
    gain = (smooth.mean() / smooth) ** (0.35 * amount)
    # Gains are interpolated linearly between blocks, because steps would click.
    gain = np.minimum(gain, 4.0).astype(np.float32)
    ramp = np.arange(HOP, dtype=np.float32) / HOP
    curve = gain[:, None] + np.diff(gain, append=gain[-1])[:, None] * ramp
    out = y_CT * gain[-1]
    np.multiply(y_CT[:, : frames * HOP], curve.reshape(-1), out=out[:, : frames * HOP])
    return out


def tape(y_CT: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate an old tape: limited band, saturation, hiss and crackle."""
    narrow = one_pole(one_pole(y_CT, rng.uniform(2200, 4200)), 6000)
    narrow -= one_pole(narrow, rng.uniform(80, 220))
    level = np.float32(np.sqrt(np.mean(narrow**2)) + 1e-6)
    warm = np.tanh(narrow / level * np.float32(0.5)) * level * 2
    hiss = rng.standard_normal(RATE, dtype=np.float32) * np.float32(rng.uniform(0.03, 0.09))
    clicks = rng.integers(0, RATE, 12)
    hiss[clicks] += rng.uniform(-2, 2, 12).astype(np.float32)
    return warm + np.resize(hiss, y_CT.shape[1]) * level


def room_noise(length: int, rng: np.random.Generator) -> np.ndarray:
    """Audience noise of a live hall (T,): band-limited, slowly modulated, unit RMS."""
    noise = rng.standard_normal(RATE, dtype=np.float32)
    noise = one_pole(noise, 1800) - one_pole(noise, 350)
    y = np.resize(noise / noise.std(), length)
    breath = np.sin(np.arange(length, dtype=np.float32) * np.float32(rng.uniform(3, 9) / RATE))
    return y * (1 + np.float32(0.5) * breath)


def level(y_CT: np.ndarray, loudness_db: float, peak: float) -> np.ndarray:
    """Scale to ``loudness_db`` RMS relative to full scale; soft-limit peaks to stay below ``peak``."""
    rms = float(np.sqrt(np.mean(y_CT**2))) + 1e-9
    y = y_CT * np.float32(10 ** (loudness_db / 20) / rms)
    knee, room = 0.6 * peak, 0.4 * peak
    loud = np.abs(y) > knee
    high = y[loud]
    y[loud] = np.sign(high) * (knee + room * np.tanh((np.abs(high) - knee) / room))
    return y
