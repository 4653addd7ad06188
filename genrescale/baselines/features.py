"""Features of timbre, rhythm and harmony, by librosa: what the boosted trees hear.

Pons 2018 takes its baseline from a company's features; these are the public ones of the same kinds:

- timbre: 20 MFCCs and their changes, spectral centroid, bandwidth, roll-off, flatness, contrast in 7 bands, zero
  crossings and loudness, each by mean and standard deviation over the song;
- rhythm: tempo, the strength and rate of onsets, and how strongly onsets repeat at the tempo, its half and double;
- harmony: 12 pitch classes from C to B, the tonnetz' 6 dimensions, and how well the best major and minor key fit.

Shapes: T samples, R bins, N frames, P pitch classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from genrescale.audio import PCM_SCALE, SAMPLE_RATE

N_FFT, HOP_LEN, NUM_MFCC = 2048, 512, 20
PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
"""How well the pitch classes fit a major and a minor key on C: Krumhansl 1990, listeners' ratings."""
MIN_TEMPO, MAX_TEMPO = 30.0, 300.0  # beats per minute
ONSET_RISE, ONSET_GAP_S = 0.07, 0.03  # librosa's delta and wait
_REPEATS = (0.5, 1.0, 2.0)  # times the tempo
_CURVES = (
    *(f"mfcc_{i}" for i in range(NUM_MFCC)),
    *(f"mfcc_change_{i}" for i in range(NUM_MFCC)),
    *("centroid", "bandwidth", "rolloff", "flatness"),
    *(f"contrast_{i}" for i in range(7)),
    *("zero_crossings", "loudness"),
)
NAMES = (
    *(f"{curve}_{part}" for curve in _CURVES for part in ("mean", "std")),
    *("tempo", "onset_mean", "onset_std", "onsets_per_s"),
    *(f"repeats_at_{times:g}" for times in _REPEATS),
    *(f"chroma_{pitch}_{part}" for part in ("mean", "std") for pitch in PITCHES),
    *(f"tonnetz_{i}_{part}" for i in range(6) for part in ("mean", "std")),
    *("key_major", "key_minor"),
)
"""The names of the features, in order: 151."""


def hand_made(wave_T: np.ndarray) -> dict[str, float]:
    """The features of a song, by name; ``wave_T`` is float, mono, 16 kHz, in [-1, 1]. All are finite.

    Silence has no centre, tempo or key: what is not defined is 0. Audio of under 0.128 s is padded by zeros.
    """
    wave_T = np.pad(wave_T.astype(np.float32), (0, max(0, N_FFT - len(wave_T))))
    if not wave_T.any():
        return dict.fromkeys(NAMES, 0.0)
    import librosa

    magnitude_RN = np.abs(librosa.stft(wave_T, n_fft=N_FFT, hop_length=HOP_LEN))
    mel_FN = librosa.feature.melspectrogram(S=magnitude_RN**2, sr=SAMPLE_RATE)
    log_mel_FN = librosa.power_to_db(mel_FN)
    values = _timbre(wave_T, magnitude_RN, log_mel_FN) | _rhythm(log_mel_FN) | _harmony(magnitude_RN)
    return {name: float(values[name]) for name in NAMES}


def _timbre(wave_T: np.ndarray, magnitude_RN: np.ndarray, log_mel_FN: np.ndarray) -> dict[str, float]:
    from librosa import feature

    spectrum = {"S": magnitude_RN, "sr": SAMPLE_RATE}
    mfcc_CN = feature.mfcc(S=log_mel_FN, n_mfcc=NUM_MFCC)
    values: dict[str, float] = {}
    for name, curves in (
        ("mfcc", mfcc_CN),
        ("mfcc_change", np.abs(np.diff(mfcc_CN, axis=1))),
        ("centroid", feature.spectral_centroid(**spectrum)),
        ("bandwidth", feature.spectral_bandwidth(**spectrum)),
        ("rolloff", feature.spectral_rolloff(**spectrum)),
        ("flatness", feature.spectral_flatness(S=magnitude_RN)),
        ("contrast", feature.spectral_contrast(**spectrum)),
        ("zero_crossings", _zero_crossings(wave_T)),
        ("loudness", 20 * np.log10(feature.rms(S=magnitude_RN, frame_length=N_FFT) + 1e-6)),
    ):
        values |= _summary(name, curves)
    return values


def _zero_crossings(wave_T: np.ndarray) -> np.ndarray:
    """The share of samples at which the sign changes, by frame: (1, N).

    librosa's own function calls a gufunc of numba. Its cache on disk breaks where several processes fill it at once, as
    tasks of Ray do, and then every call ends the process (numba issue 10128). So onsets are not librosa's, either.
    """
    from librosa.util import frame

    changes_T = np.diff(np.signbit(wave_T), prepend=np.signbit(wave_T[:1]))
    return frame(changes_T, frame_length=N_FFT, hop_length=HOP_LEN).mean(axis=0, keepdims=True)


def _summary(name: str, curves: np.ndarray) -> dict[str, float]:
    """Mean and standard deviation over time of one curve or several."""
    several = len(curves) > 1
    values = {}
    for i, curve_N in enumerate(curves):
        label = f"{name}_{i}" if several else name
        values |= {f"{label}_mean": float(curve_N.mean()), f"{label}_std": float(curve_N.std())}
    return values


def _rhythm(log_mel_FN: np.ndarray) -> dict[str, float]:
    """Tempo by the autocorrelation of onset strength, and what says how clear it is."""
    import librosa

    onset_N = librosa.onset.onset_strength(S=log_mel_FN, sr=SAMPLE_RATE, hop_length=HOP_LEN)
    frames_s = HOP_LEN / SAMPLE_RATE
    repeats_N = librosa.autocorrelate(onset_N - onset_N.mean())
    repeats_N = repeats_N / repeats_N[0] if repeats_N[0] > 0 else np.zeros_like(repeats_N)
    tempo = 0.0
    if repeats_N.any():
        found = librosa.feature.tempo(onset_envelope=onset_N, sr=SAMPLE_RATE, hop_length=HOP_LEN, max_tempo=MAX_TEMPO)
        tempo = float(np.clip(found[0], MIN_TEMPO, MAX_TEMPO))
    values = {"tempo": tempo, "onset_mean": float(onset_N.mean()), "onset_std": float(onset_N.std())}
    values["onsets_per_s"] = _num_onsets(onset_N, frames_s) / (len(onset_N) * frames_s)
    for times in _REPEATS:
        lag = round(60 / (tempo * times * frames_s)) if tempo else len(repeats_N)
        values[f"repeats_at_{times:g}"] = float(repeats_N[lag]) if lag < len(repeats_N) else 0.0
    return values


def _num_onsets(onset_N: np.ndarray, frames_s: float) -> int:
    """Count peaks of onset strength that stand out by ONSET_RISE of the highest and lie ONSET_GAP_S apart."""
    from scipy.signal import find_peaks

    if onset_N.max() <= 0:
        return 0
    gap = max(1, round(ONSET_GAP_S / frames_s))
    return len(find_peaks(onset_N / onset_N.max(), prominence=ONSET_RISE, distance=gap)[0])


def _harmony(magnitude_RN: np.ndarray) -> dict[str, float]:
    import librosa

    # tuning is not estimated: that takes as long as all the rest
    chroma_PN = librosa.feature.chroma_stft(S=magnitude_RN**2, sr=SAMPLE_RATE, tuning=0.0)
    mean_P = chroma_PN.mean(axis=1)
    values = {f"chroma_{pitch}_mean": float(value) for pitch, value in zip(PITCHES, mean_P, strict=True)}
    values |= {f"chroma_{p}_std": float(v) for p, v in zip(PITCHES, chroma_PN.std(axis=1), strict=True)}
    values |= _summary("tonnetz", librosa.feature.tonnetz(chroma=chroma_PN))
    for mode, profile in (("major", _MAJOR), ("minor", _MINOR)):
        fits = [_correlation(mean_P, np.roll(profile, tonic)) for tonic in range(len(PITCHES))]
        values[f"key_{mode}"] = max(fits)
    return values


def _correlation(a_P: np.ndarray, b_P: np.ndarray) -> float:
    a_P, b_P = a_P - a_P.mean(), b_P - b_P.mean()
    size = float(np.linalg.norm(a_P) * np.linalg.norm(b_P))
    return float(a_P @ b_P) / size if size else 0.0


@dataclass(frozen=True)
class HandMade:
    """The extractor of ``hand_made``."""

    name: str = "hand_made"

    @property
    def definition(self) -> str:
        return f"2: librosa {version('librosa')}, n_fft {N_FFT}, hop {HOP_LEN}"

    @property
    def columns(self) -> tuple[str, ...]:
        return NAMES

    def vector(self, pcm_T: np.ndarray) -> np.ndarray:
        values: Mapping[str, float] = hand_made(pcm_T.astype(np.float32) * PCM_SCALE)
        return np.nan_to_num(np.fromiter(values.values(), np.float32, len(values)))
