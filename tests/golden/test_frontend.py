"""The log-mel front end against librosa (whose settings the published systems used) and against plain arithmetic.

Tolerance: 1e-4 of a log10 unit (values lie in [0, 8]). The front end works in fp32 and the references in fp64: the
fp32 transform rounds against the loudest bin of a frame, so quiet bins beside a loud chirp differ by up to 4e-5.
"""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from genrescale.models.frontend import HOP_LEN, MIN_LEN, LogMel, log_mel_statistics, min_samples, num_frames

TOLERANCE = 1e-4


def signal(seconds: float = 3.0, seed: int = 0) -> np.ndarray:
    """Seeded noise under a chirp from 50 Hz to 7.9 kHz that swells from silence: every bin and many levels."""
    t = np.arange(int(seconds * 16_000)) / 16_000
    noise = np.random.default_rng(seed).standard_normal(len(t))
    chirp = np.sin(2 * np.pi * (50 * t + (7_900 - 50) / (2 * seconds) * t**2))
    return ((0.6 * chirp + 0.02 * noise) * t / seconds).astype(np.float32)


def librosa_logmel_FN(wave_T: np.ndarray) -> np.ndarray:
    mel_FN = librosa.feature.melspectrogram(
        y=wave_T.astype(np.float64), sr=16_000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    )
    return np.log10(10_000 * mel_FN + 1)


def test_equals_librosa():
    wave_T = signal()
    ours_FN = LogMel()(torch.from_numpy(wave_T)[None])[0].numpy()
    theirs_FN = librosa_logmel_FN(wave_T)
    assert ours_FN.shape == theirs_FN.shape == (96, 188)
    assert theirs_FN.max() > 3, "the signal must reach the upper part of the scale"
    np.testing.assert_allclose(ours_FN, theirs_FN, rtol=0, atol=TOLERANCE)


def test_equals_torchaudio_in_float64():
    wave_BT = torch.from_numpy(np.stack([signal(seed=0), signal(seed=1)]))
    mel = MelSpectrogram(16_000, 512, hop_length=256, f_min=0, f_max=8000, n_mels=96, norm="slaney", mel_scale="slaney")
    theirs_BFN = torch.log10(10_000 * mel.double()(wave_BT.double()) + 1)
    torch.testing.assert_close(LogMel()(wave_BT).double(), theirs_BFN, rtol=0, atol=TOLERANCE)


def test_filter_bank_equals_librosas():
    bank_FM = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=96, fmin=0, fmax=8000)
    np.testing.assert_allclose(LogMel().mel.mel_scale.fb.numpy().T, bank_FM, rtol=0, atol=2e-7)


def test_normalises_by_two_scalars_that_a_checkpoint_carries():
    wave_BT = torch.from_numpy(signal())[None]
    plain = LogMel()(wave_BT)
    trained = LogMel(log_mel_mean=1.25, log_mel_std=0.5)
    torch.testing.assert_close(trained(wave_BT), (plain - 1.25) / 0.5)
    loaded = LogMel()
    loaded.load_state_dict(trained.state_dict())
    assert torch.equal(loaded(wave_BT), trained(wave_BT))


def test_stays_fp32_under_autocast():
    wave_BT = torch.from_numpy(signal())[None]
    with torch.autocast("cpu", torch.bfloat16):
        inside = LogMel()(wave_BT)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, LogMel()(wave_BT))


def test_statistics_equal_those_of_all_cells_at_once():
    waves = [signal(seconds, seed) for seed, seconds in enumerate((3.0, 1.0, 2.5))]
    cells = np.concatenate([librosa_logmel_FN(wave).ravel() for wave in waves])
    mean, std = log_mel_statistics(torch.from_numpy(wave) for wave in waves)
    assert mean == pytest.approx(cells.mean(), abs=TOLERANCE)
    assert std == pytest.approx(cells.std(), abs=TOLERANCE)
    normalised = LogMel(mean, std)(torch.from_numpy(waves[0])[None])
    assert torch.isfinite(normalised).all()


def test_statistics_refuse_nothing_and_silence():
    with pytest.raises(ValueError, match="at least one waveform"):
        log_mel_statistics([])
    with pytest.raises(ValueError, match="silent audio"):
        log_mel_statistics([torch.zeros(16_000)])


@pytest.mark.parametrize(("mean", "std"), [(0.0, 0.0), (0.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_refuses_statistics_that_cannot_normalise(mean, std):
    with pytest.raises(ValueError, match="log_mel_std"):
        LogMel(mean, std)


@pytest.mark.parametrize("num_samples", [MIN_LEN, 2 * HOP_LEN - 1, 2 * HOP_LEN, 48_000, 240_000])
def test_frame_counts(num_samples):
    assert LogMel()(torch.zeros(1, num_samples)).shape[2] == num_frames(num_samples)


def test_min_samples_is_the_shortest_for_its_frames():
    for frames in (3, 7, 8, 100):
        assert num_frames(min_samples(frames)) == frames
        assert num_frames(min_samples(frames) - 1) == frames - 1
