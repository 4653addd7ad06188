"""The log-mel front ends against librosa (whose settings the published systems used), torchaudio and arithmetic.

Tolerance for log10(10000 x + 1): 1e-4 of a log10 unit (values lie in [0, 8]). The front end works in fp32 and the
references in fp64: the fp32 transform rounds against the loudest bin of a frame, so quiet bins beside a loud chirp
differ by up to 4e-5 (of 96 bins; narrower bands average less: 2e-4 of 128). Decibels have no +1 to cover it: 0.005 dB
on a scale from -100 to 44. Against torchaudio in fp32, which rounds as we do: 1e-5 and 1e-3 dB.
"""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

from genrescale.models.parts.frontend import (
    GTZAN_MEL,
    HOP_LEN,
    MIN_LEN,
    PONS_MEL,
    WON_MEL,
    WON_MEL_128,
    LogMel,
    MelSettings,
    RawLogMel,
    log_mel_statistics,
    min_samples,
    num_frames,
)

TOLERANCE = 1e-4
# name: the settings, and how far from librosa in float64 and from torchaudio in float32 a cell may be
VARIANTS = {
    "pons": (PONS_MEL, 1e-4, 1e-5),
    "pons_128": (MelSettings(num_mels=128), 2e-4, 1e-5),
    "won": (WON_MEL, 5e-3, 1e-3),
    "won_128": (WON_MEL_128, 5e-3, 1e-3),
    "gtzan": (GTZAN_MEL, 5e-3, 1e-3),
    "a part of the range": (MelSettings(num_mels=64, f_min=55.0, f_max=7600.0, scale="htk"), 2e-4, 1e-5),
}


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


def bank_options(settings: MelSettings) -> dict:
    return {"norm": "slaney" if settings.scale == "slaney" else None}


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_equals_librosas(name):
    settings, tolerance, _ = VARIANTS[name]
    wave_T = signal()
    mel_FN = librosa.feature.melspectrogram(
        y=wave_T.astype(np.float64),
        sr=16_000,
        n_fft=settings.n_fft,
        win_length=settings.win_len,
        hop_length=settings.hop_len,
        n_mels=settings.num_mels,
        fmin=settings.f_min,
        fmax=settings.f_max,
        htk=settings.scale == "htk",
        pad_mode="reflect",
        dtype=np.float64,
        **bank_options(settings),
    )
    decibels = settings.compression == "db"
    theirs_FN = (
        librosa.power_to_db(mel_FN, ref=1.0, amin=1e-10, top_db=None) if decibels else np.log10(1e4 * mel_FN + 1)
    )
    ours_FN = RawLogMel(settings)(torch.from_numpy(wave_T)[None])[0].numpy()
    assert ours_FN.shape == theirs_FN.shape == (settings.num_mels, settings.num_frames(len(wave_T)))
    assert theirs_FN.max() > (30 if decibels else 3), "the signal must reach the upper part of the scale"
    np.testing.assert_allclose(ours_FN, theirs_FN, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values")
def test_each_variant_equals_torchaudios(name):
    settings, _, tolerance = VARIANTS[name]
    wave_BT = torch.from_numpy(np.stack([signal(seed=0), signal(seed=1)]))
    theirs = MelSpectrogram(
        16_000,
        n_fft=settings.n_fft,
        win_length=settings.win_len,
        hop_length=settings.hop_len,
        n_mels=settings.num_mels,
        f_min=settings.f_min,
        f_max=settings.f_max,
        mel_scale=settings.scale,
        **bank_options(settings),
    )
    power_BFN = theirs(wave_BT)
    theirs_BFN = AmplitudeToDB()(power_BFN) if settings.compression == "db" else torch.log10(1e4 * power_BFN + 1)
    torch.testing.assert_close(RawLogMel(settings)(wave_BT), theirs_BFN, rtol=0, atol=tolerance)


def test_silence_is_the_floor():
    silence_BT = torch.zeros(1, 4096)
    assert torch.equal(RawLogMel(WON_MEL)(silence_BT), torch.full((1, 96, 17), -100.0))
    assert torch.equal(RawLogMel(PONS_MEL)(silence_BT), torch.zeros(1, 96, 17))


def test_the_waveform_gets_the_gradient_of_torchaudios():
    """Attribution needs it, and the compression works in place."""
    wave_BT = torch.from_numpy(signal())[None].requires_grad_()
    theirs = AmplitudeToDB()(MelSpectrogram(16_000, n_fft=512, hop_length=256, n_mels=96)(wave_BT)).square().mean()
    ours = RawLogMel(WON_MEL)(wave_BT).square().mean()
    (expected_BT,), (found_BT,) = torch.autograd.grad(theirs, wave_BT), torch.autograd.grad(ours, wave_BT)
    torch.testing.assert_close(found_BT, expected_BT, rtol=1e-3, atol=1e-5 * expected_BT.abs().max().item())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_mels": 0}, "num_mels=0 must be a whole number of at least 1"),
        ({"n_fft": 512.0}, "n_fft=512.0 must be a whole number"),
        ({"hop_len": 513}, "hop_len=513, win_len=512, n_fft=512: the window must be at least as long as the hop"),
        ({"win_len": 1024}, "win_len=1024, n_fft=512: .* at most as long as the transform"),
        ({"f_min": -1.0}, "f_min=-1.0 and f_max=8000.0 must satisfy 0 <= f_min < f_max <= 8000.0"),
        ({"f_max": 11_025.0}, "f_max=11025.0 must satisfy 0 <="),
        ({"f_max": float("nan")}, "f_max=nan must satisfy 0 <="),
        ({"scale": "mel"}, r"scale='mel' is none of \['htk', 'slaney'\]"),
        ({"compression": "ln"}, r"compression='ln' is none of \['db', 'log10'\]"),
    ],
)
def test_refuses_settings_of_no_spectrogram(settings, message):
    with pytest.raises(ValueError, match=message):
        MelSettings(**settings)


def test_equals_torchaudio_in_float64():
    wave_BT = torch.from_numpy(np.stack([signal(seed=0), signal(seed=1)]))
    mel = MelSpectrogram(16_000, 512, hop_length=256, f_min=0, f_max=8000, n_mels=96, norm="slaney", mel_scale="slaney")
    theirs_BFN = torch.log10(10_000 * mel.double()(wave_BT.double()) + 1)
    torch.testing.assert_close(LogMel()(wave_BT).double(), theirs_BFN, rtol=0, atol=TOLERANCE)


def test_filter_bank_equals_librosas():
    bank_FM = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=96, fmin=0, fmax=8000)
    np.testing.assert_allclose(LogMel().mel.get_buffer("mel_scale.fb").numpy().T, bank_FM, rtol=0, atol=2e-7)


def test_any_variant_can_be_normalised_over_a_corpus():
    wave_BT = torch.from_numpy(signal())[None]
    mean, std = log_mel_statistics([wave_BT[0]], WON_MEL)
    normalised = LogMel(mean, std, WON_MEL)(wave_BT)
    assert normalised.mean().item() == pytest.approx(0, abs=1e-4)
    assert normalised.std(correction=0).item() == pytest.approx(1, abs=1e-4)


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
    assert GTZAN_MEL.min_samples(1) == GTZAN_MEL.min_len == 1025
