"""The Kaldi filter bank against torchaudio's Kaldi compliance and against transformers' ASTFeatureExtractor.

Tolerance: 1e-2 of a natural-log unit (values lie in [-16, 10]) in the worst cell, 2e-5 on average. Both work in fp32,
whose transform rounds against the loudest bin of a frame: against float64 our worst cell here is 0.0032 off,
torchaudio's fp32 0.0040.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torchaudio.compliance import kaldi
from transformers import ASTFeatureExtractor

from genrescale.models.parts.fbank import NORMALISATIONS, KaldiFbank, min_samples, num_frames

WORST, MEAN = 1e-2, 2e-5


def clips(seconds: float = 3.0) -> torch.Tensor:
    """Noise under a chirp that swells from silence, plain noise, a click with an offset, and silence."""
    t = torch.arange(int(seconds * 16_000), dtype=torch.float64) / 16_000
    noise = torch.randn(2, len(t), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    chirp = torch.sin(2 * torch.pi * (50 * t + (7_900 - 50) / (2 * seconds) * t**2))
    click = torch.where(torch.arange(len(t)) == 12_345, 0.9, 0.25)
    return torch.stack([(0.6 * chirp + 0.02 * noise[0]) * t / seconds, 0.1 * noise[1], click, 0 * t]).float()


def torchaudio_fbank(wave_T: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return kaldi.fbank(
        wave_T[None].to(dtype),
        htk_compat=True,
        sample_frequency=16_000,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=128,
        dither=0.0,
        frame_shift=10,
    )


def assert_near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    difference = (ours.double() - theirs.double()).abs()
    assert difference.max() < WORST
    assert difference.mean() < MEAN


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torchaudio_clip_by_clip(dtype):
    wave_BT = clips()
    ours_BNF = KaldiFbank().raw(wave_BT)
    assert ours_BNF.shape == (4, 298, 128)
    assert ours_BNF.max() > 4
    assert ours_BNF[3].unique().tolist() == pytest.approx([np.log(np.finfo(np.float32).eps)]), "silence: Kaldi's floor"
    for ours_NF, wave_T in zip(ours_BNF[:2], wave_BT[:2], strict=True):
        assert_near(ours_NF, torchaudio_fbank(wave_T, dtype))


def test_a_constant_offset_is_removed_from_every_frame():
    """A large offset leaves rounding noise near the floor: energies, not their logs, are equal there."""
    wave_T = clips()[2]
    ours, theirs = KaldiFbank().raw(wave_T[None])[0].exp(), torchaudio_fbank(wave_T, torch.float64).exp()
    torch.testing.assert_close(ours.double(), theirs, rtol=WORST, atol=1e-6)
    assert theirs.max() > 1e-3


def test_batched_form_for_accelerators_is_the_same():
    """On a GPU all clips go at once; the same arithmetic, run here on the CPU.

    In float64: how fp32 rounds next to the loudest bin depends on the CPU and on how many clips go at once.
    """
    wave_BT, fbank = clips().double(), KaldiFbank(remove_mean=True).double()
    torch.testing.assert_close(fbank._log_mel(wave_BT), fbank.raw(wave_BT), rtol=0, atol=1e-8)
    assert_near(fbank.float()._log_mel(clips()), fbank.raw(clips()))


@pytest.mark.parametrize("seconds", [3.0, 12.0])  # padded and cut
def test_equals_the_ast_feature_extractor(seconds, caplog):
    caplog.set_level(logging.ERROR)
    extractor = ASTFeatureExtractor()
    wave_BT = clips(seconds)[:2]
    theirs_BNF = extractor([wave_T.numpy() for wave_T in wave_BT], sampling_rate=16_000, return_tensors="pt")
    ours_BNF = KaldiFbank("audioset", frames=1024)(wave_BT)
    assert ours_BNF.shape == (2, 1024, 128)
    assert_near(ours_BNF, theirs_BNF["input_values"])
    if seconds == 3.0:
        assert ours_BNF[:, 298:].unique().tolist() == pytest.approx([0.467], abs=1e-4)


@pytest.mark.parametrize("name", sorted(NORMALISATIONS))
def test_normalisation_is_by_two_deviations(name):
    mean, std = NORMALISATIONS[name]
    wave_BT = clips()
    raw_BNF = KaldiFbank().raw(wave_BT)
    torch.testing.assert_close(KaldiFbank(name)(wave_BT), (raw_BNF - mean) / (2 * std))


def test_the_published_constants():
    assert NORMALISATIONS == {
        "audioset": (-4.2677393, 4.5689974),
        "esc50": (-6.6268077, 5.358466),
        "speechcommands": (-6.845978, 5.5654526),
    }


def test_mean_removal_is_the_clips():
    wave_BT = clips()[:2] + torch.tensor([[0.3], [-0.2]])
    centred_BT = wave_BT - wave_BT.mean(dim=1, keepdim=True)
    removed, theirs = KaldiFbank(remove_mean=True).raw(wave_BT), [torchaudio_fbank(wave_T) for wave_T in centred_BT]
    assert_near(removed, torch.stack(theirs))


def test_what_spec_augment_sets_to_zero_is_padding_after_the_normalisation():
    class MaskBins(nn.Module):
        def forward(self, spectrogram_BFN: torch.Tensor) -> torch.Tensor:
            assert spectrogram_BFN.shape == (4, 128, 1024)
            masked = spectrogram_BFN.clone()
            masked[:, 10:20] = 0.0
            return masked

    plain = KaldiFbank(frames=1024)(clips())
    masked = KaldiFbank(frames=1024)(clips(), MaskBins())
    assert masked[..., 10:20].unique().tolist() == pytest.approx([4.2677393 / (2 * 4.5689974)])
    kept = [i for i in range(128) if not 10 <= i < 20]
    assert torch.equal(masked[..., kept], plain[..., kept])


def test_stays_fp32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        inside = KaldiFbank()(clips())
    assert inside.dtype == torch.float32
    assert torch.equal(inside, KaldiFbank()(clips()))


@pytest.mark.parametrize("samples", [400, 559, 560, 16_000, 160_000, 480_000])
def test_frame_counts(samples):
    frames = num_frames(samples)
    assert KaldiFbank()(torch.zeros(1, samples)).shape == (1, frames, 128)
    assert num_frames(min_samples(frames)) == frames
    assert num_frames(min_samples(frames) - 1) == frames - 1
    assert num_frames(160_000) == 998


def test_refusals():
    with pytest.raises(ValueError, match=r"input of 399 samples is too short"):
        KaldiFbank()(torch.zeros(1, 399))
    with pytest.raises(ValueError, match=r"normalisation='gtzan' is none of \['audioset', 'esc50', 'speechcommands'\]"):
        KaldiFbank("gtzan")
    with pytest.raises(ValueError, match="frames=-1 must be a whole number"):
        KaldiFbank(frames=-1)


def test_a_checkpoint_does_not_carry_the_filter_bank():
    assert KaldiFbank().state_dict() == {}
