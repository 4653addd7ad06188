"""Hand-made features say what they are called after, of sounds whose tempo and pitch are known."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from genrescale.audio import SAMPLE_RATE
from genrescale.baselines.features import NAMES, PITCHES, HandMade, hand_made
from genrescale.baselines.log_mel import STATISTICS, LogMelStatistics
from genrescale.models.parts.log_mels import log_mels

TIME_T = np.arange(8 * SAMPLE_RATE) / SAMPLE_RATE


def tone(hertz: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * TIME_T)


@pytest.mark.parametrize(("hertz", "pitch"), [(440.0, "A"), (523.25, "C")])
def test_a_tone_is_at_its_pitch_class(hertz: float, pitch: str):
    found = hand_made(tone(hertz))
    chroma = {name: found[f"chroma_{name}_mean"] for name in PITCHES}
    assert max(chroma, key=chroma.__getitem__) == pitch


@pytest.mark.parametrize(("beats_per_minute", "share"), [(120, 0.06), (90, 0.06)])
def test_clicks_have_the_tempo_at_which_they_come(beats_per_minute: int, share: float):
    wave_T, rng = np.zeros(len(TIME_T)), np.random.default_rng(0)
    for at in np.arange(0, 7.9, 60 / beats_per_minute):
        first = round(at * SAMPLE_RATE)
        wave_T[first : first + 200] = 0.5 * rng.standard_normal(200)
    found = hand_made(wave_T)
    assert found["tempo"] == pytest.approx(beats_per_minute, rel=share)
    assert found["repeats_at_1"] > 0.5 > found["repeats_at_2"]


def test_a_brighter_and_louder_sound_has_the_higher_centre_and_loudness():
    dull, bright = hand_made(0.1 * tone(200)), hand_made(tone(4000))
    assert bright["centroid_mean"] == pytest.approx(4000, rel=0.05)
    assert dull["centroid_mean"] < 400
    assert bright["loudness_mean"] - dull["loudness_mean"] == pytest.approx(20, abs=1)


def test_a_chord_fits_its_mode_better_than_the_other():
    major = np.mean([tone(hertz) for hertz in (261.63, 329.63, 392.0)], axis=0)  # C E G
    minor = np.mean([tone(hertz) for hertz in (261.63, 311.13, 392.0)], axis=0)  # C E flat G
    in_major, in_minor = hand_made(major), hand_made(minor)
    assert in_major["key_major"] - in_major["key_minor"] > in_minor["key_major"] - in_minor["key_minor"]


@pytest.mark.parametrize("wave_T", [np.zeros(SAMPLE_RATE), np.full(9, 0.1), np.full(SAMPLE_RATE, 0.3)])
def test_silence_a_few_samples_and_a_constant_have_finite_features_of_the_same_names(wave_T: np.ndarray):
    found = hand_made(wave_T)
    assert tuple(found) == NAMES
    assert np.isfinite(list(found.values())).all()


@pytest.mark.parametrize("extractor", [HandMade(), LogMelStatistics()], ids=lambda extractor: extractor.name)
def test_a_vector_has_a_finite_number_for_each_column(extractor: HandMade | LogMelStatistics):
    for pcm_T in (np.zeros(9, np.int16), np.arange(20_000).astype(np.int16)):
        vector_F = extractor.vector(pcm_T)
        assert vector_F.shape == (len(extractor.columns),)
        assert vector_F.dtype == np.float32
        assert np.isfinite(vector_F).all()


def test_log_mel_statistics_are_those_of_the_spectrogram():
    pcm_T = np.random.default_rng(0).integers(-9000, 9000, 2 * SAMPLE_RATE).astype(np.int16)
    (mel_FN,) = log_mels([pcm_T])
    extractor = LogMelStatistics()
    found = dict(zip(extractor.columns, extractor.vector(pcm_T), strict=True))
    assert found["mean_7"] == pytest.approx(mel_FN[7].mean(), rel=1e-5)
    assert found["std_95"] == pytest.approx(mel_FN[95].std(), rel=1e-5)
    assert found["change_3"] == pytest.approx(np.abs(mel_FN[3, 1:] - mel_FN[3, :-1]).mean(), rel=1e-5)
    assert found["p90_0"] == pytest.approx(np.percentile(mel_FN[0], 90), rel=1e-5)
    assert len(extractor.columns) == 96 * len(STATISTICS)


def test_a_song_longer_than_a_minute_is_looked_at_in_parts_and_as_a_whole(monkeypatch: pytest.MonkeyPatch):
    pcm_T = np.random.default_rng(0).integers(-9000, 9000, 4 * SAMPLE_RATE).astype(np.int16)
    whole_F = LogMelStatistics().vector(pcm_T)
    monkeypatch.setattr("genrescale.baselines.log_mel._FRAMES", 125)
    np.testing.assert_allclose(LogMelStatistics().vector(pcm_T), whole_F, atol=0.05)


def test_no_gufunc_of_numba_is_called():
    """Their cache on disk breaks where several processes fill it at once; then a call ends the process."""
    code = """
import numpy as np
from numba.np.ufunc.gufunc import GUFunc
import librosa.core.audio, librosa.core.pitch, librosa.util.utils, librosa.onset
def refuse(*_, **__):
    raise AssertionError("a gufunc was called")
GUFunc.__call__ = refuse
from genrescale.baselines.features import hand_made
click_T = np.zeros(32_000)
click_T[::8000] = 1.0
features = hand_made(click_T)
assert abs(features["onsets_per_s"] - 2) < 0.6, features["onsets_per_s"]
noise_T = np.random.default_rng(0).standard_normal(32_000) * 0.1
assert abs(hand_made(noise_T)["zero_crossings_mean"] - 0.5) < 0.02
print("none")
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ended.stdout == "none\n", ended.stderr
