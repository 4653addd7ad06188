"""SpecAugment hides what its setting says, in training only; models without spectrograms refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.tiny_models import TINY, tiny_len
from torch import Tensor, nn

from genrescale.audio import Vocabulary
from genrescale.config import AugmentConfig, DataConfig, ModelConfig, RunConfig, SiteConfig
from genrescale.config.spec_augment import SPEC_AUGMENTS, SpecMasks, parse_spec_augment
from genrescale.models import MODELS, build_model, fixed_crop_len
from genrescale.models.parts.spec_augment import SpecAugment, put_spec_augment
from genrescale.training.checks import check_run

LOGMEL_BFN = torch.randn(400, 128, 250)
MASKED = 7.0


class TinyTagger(nn.Module):
    """Frames of 16 samples as a spectrogram of 16 bins."""

    def __init__(self) -> None:
        super().__init__()
        self.spec_augment: nn.Module = nn.Identity()
        self.output = nn.Linear(16, 3)

    def forward(self, wave_BT: Tensor) -> Tensor:
        logmel_BFN = wave_BT.unflatten(1, (-1, 16)).transpose(1, 2)
        return self.output(self.spec_augment(logmel_BFN).mean(dim=2))


def masked(masks: SpecMasks, seed: int = 0, logmel_BFN: Tensor = LOGMEL_BFN) -> Tensor:
    torch.manual_seed(seed)
    return SpecAugment(masks, MASKED)(logmel_BFN)


def widths(hidden_BN: Tensor) -> Tensor:
    """Of each clip, how much of an axis is hidden, which must be in one piece."""
    changes_B = hidden_BN.int().diff(dim=1, prepend=torch.zeros(len(hidden_BN), 1)).clamp(min=0).sum(dim=1)
    assert changes_B.max() <= 1
    return hidden_BN.sum(dim=1)


def test_the_studies_settings():
    """GTZAN, section 4.1: 48 bins and 192 frames failed, 24 and 96 failed, 36 and 144 was the median."""
    found = {name: (masks.freq_width, masks.time_width) for name, masks in SPEC_AUGMENTS.items()}
    assert found == {"none": (0, 0), "median": (36, 144), "hard": (48, 192), "easy": (24, 96)}
    assert all(masks.freq_masks == masks.time_masks == 1 for name, masks in SPEC_AUGMENTS.items() if name != "none")
    assert parse_spec_augment("1x36/1x144") == SPEC_AUGMENTS["median"]
    assert parse_spec_augment("2x10/3x50") == SpecMasks(2, 10, 3, 50)


def test_masks_are_whole_bands_and_stretches_and_leave_the_rest():
    hidden_BFN = masked(SPEC_AUGMENTS["median"]) == MASKED
    band_BF, stretch_BN = hidden_BFN.all(dim=2), hidden_BFN.all(dim=1)
    assert torch.equal(hidden_BFN, band_BF[:, :, None] | stretch_BN[:, None, :])
    torch.testing.assert_close(masked(SPEC_AUGMENTS["median"])[~hidden_BFN], LOGMEL_BFN[~hidden_BFN])


@pytest.mark.parametrize("name", ["median", "hard", "easy"])
def test_widths_and_places_are_even(name: str):
    masks = SPEC_AUGMENTS[name]
    hidden_BFN = masked(masks) == MASKED
    axes = ((hidden_BFN.all(dim=2), masks.freq_width), (hidden_BFN.all(dim=1), masks.time_width))
    for hidden_BN, widest in axes:
        width_B = widths(hidden_BN).double()
        assert width_B.max() < widest
        # even on 0 .. widest - 1: five standard errors of 400 clips
        assert width_B.mean() == pytest.approx((widest - 1) / 2, abs=5 * widest / 12**0.5 / 400**0.5)
        centre = (hidden_BN.double() @ torch.arange(hidden_BN.shape[1], dtype=torch.float64)).sum() / hidden_BN.sum()
        assert centre == pytest.approx((hidden_BN.shape[1] - 1) / 2, rel=0.1)
        assert len(set(width_B.tolist())) > widest / 2  # each clip its own


def test_more_masks_hide_more():
    shares = [float((masked(SpecMasks(n, 20, n, 60)) == MASKED).float().mean()) for n in (0, 1, 2, 4)]
    assert shares[0] == 0.0
    assert shares == sorted(shares)
    # one mask hides half its widest on average
    one = 1 - (1 - 9.5 / 128) * (1 - 29.5 / 250)
    assert shares[1] == pytest.approx(one, rel=0.1)
    assert one * 1.5 < shares[2] < 2 * one


def test_noise_is_the_seeds():
    masks = SPEC_AUGMENTS["median"]
    assert torch.equal(masked(masks, 5), masked(masks, 5))
    assert not torch.equal(masked(masks, 5), masked(masks, 6))


def test_nothing_is_hidden_in_evaluation_or_by_none():
    assert SpecAugment(SPEC_AUGMENTS["hard"]).eval()(LOGMEL_BFN) is LOGMEL_BFN
    state = torch.get_rng_state()
    assert SpecAugment(SPEC_AUGMENTS["none"])(LOGMEL_BFN) is LOGMEL_BFN
    assert torch.equal(torch.get_rng_state(), state)


def test_a_mask_fits_into_a_short_input():
    hidden_BFN = masked(SpecMasks(0, 0, 1, 192), logmel_BFN=torch.zeros(400, 8, 20)) == MASKED
    width_B = widths(hidden_BFN.all(dim=1))
    assert width_B.max() < 20
    assert width_B.double().mean() == pytest.approx(9.5, abs=1.5)


def test_a_model_of_spectrograms_trains_with_masks_and_scores_without():
    model, wave_BT = TinyTagger(), torch.randn(8, 320)
    plain_BK = model(wave_BT)
    put_spec_augment(model, SpecMasks(1, 12, 1, 12))
    torch.manual_seed(0)
    assert not torch.allclose(model.train()(wave_BT), plain_BK)
    assert torch.equal(model.eval()(wave_BT), plain_BK)
    assert set(model.state_dict()) == {"output.weight", "output.bias"}  # weights of before fit


def test_a_model_may_say_what_a_masked_cell_holds():
    model: Any = TinyTagger()
    put_spec_augment(model, SPEC_AUGMENTS["median"])
    assert isinstance(model.spec_augment, SpecAugment)
    assert model.spec_augment.masked_value == 0.0
    model.masked_value = 0.467
    put_spec_augment(model, SPEC_AUGMENTS["median"])
    assert model.spec_augment.masked_value == 0.467


def test_a_spectrogram_in_dB_is_masked_with_the_clips_own_mean():
    """Raw decibels: 0 would be the loudest cell there is."""
    logmel_BFN = -60 + 10 * torch.randn(3, 96, 200)
    masked_BFN = SpecAugment(SpecMasks(2, 40, 2, 80), None).train()(logmel_BFN)
    for clip, masked in zip(logmel_BFN, masked_BFN, strict=True):
        changed = (clip - masked).abs() > 1e-3
        assert 0.01 < changed.float().mean() < 0.99
        torch.testing.assert_close(masked[changed], clip.mean().expand(int(changed.sum())), rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_masks_or_refuses(name: str):
    """What is masked is the clip's mean where silence lies far below 0 dB, and elsewhere 0, as the authors have it.

    That is: the mean of a normalised spectrogram, silence of log10(10000 x + 1), and Kaldi's cells before they are
    normalised.
    """
    model = build_model(name, 4, **TINY[name])
    if not hasattr(model, "spec_augment"):
        with pytest.raises(ValueError, match=f"spec_augment masks spectrograms, and {type(model).__name__} has none"):
            put_spec_augment(model, SPEC_AUGMENTS["median"])
        return
    model.eval()
    put_spec_augment(model, SpecMasks(4, 60, 4, 60))
    wave_BT = 0.1 * torch.randn(2, fixed_crop_len(name, **TINY[name]) or max(tiny_len(name), 48_000))
    plain_BK = model(wave_BT)
    seen, masks = [], model.get_submodule("spec_augment")
    masks.register_forward_hook(lambda _, given, masked_BFN: seen.append((given[0], masked_BFN)))
    masks.train()
    with torch.no_grad():
        assert not torch.allclose(model(wave_BT), plain_BK)
        model(torch.zeros_like(wave_BT))
    (logmel_BFN, masked_BFN), (silence_BFN, _) = seen
    in_decibels = float(silence_BFN.max()) < -30
    expected_BFN = logmel_BFN.mean(dim=(1, 2), keepdim=True) if in_decibels else torch.zeros(2, 1, 1)
    hidden_BFN = (masked_BFN - logmel_BFN).abs() > 1e-3
    assert 0 < hidden_BFN.float().mean() < 1
    gap_BFN = (masked_BFN - expected_BFN.expand_as(masked_BFN)).abs()
    assert float(gap_BFN[hidden_BFN].max()) < 1e-3


def test_a_waveform_model_is_refused_before_a_run_starts():
    run = RunConfig(model=ModelConfig("waveform"), augment=AugmentConfig(spec_augment="median"))
    with pytest.raises(ValueError, match="WaveformTagger has none: train it with spec_augment=none, or another model"):
        check_run(run, SiteConfig(), Vocabulary.of_classes(["a", "b"]))


@pytest.mark.parametrize(
    ("name", "setting", "crop_s", "words"),
    [
        ("fcn", "1x97/1x10", 29.0, "up to 97 mel bins and 10 frames, but a crop has 96 bins and 1813 frames"),
        ("vgg_gtzan", "median", 1.0, "up to 36 mel bins and 144 frames, but a crop has 128 bins and 101 frames"),
        ("lstm", "hard", 1.0, "a crop has 128 bins and 98 frames: use narrower masks"),
    ],
)
def test_masks_wider_than_the_spectrogram_are_refused(name: str, setting: str, crop_s: float, words: str):
    vocabulary = Vocabulary.of_classes(["a", "b"])
    data = DataConfig(crop_s=crop_s)
    dials = {"frames": 0} if name == "lstm" else {}
    run = RunConfig(model=ModelConfig(name, dials), data=data, augment=AugmentConfig(spec_augment=setting))
    with pytest.raises(ValueError, match=words):
        check_run(run, SiteConfig(), vocabulary)
    check_run(replace(run, augment=AugmentConfig(spec_augment="1x20/1x60")), SiteConfig(), vocabulary)


def test_a_setting_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"spec_augment='mild' must be one of \['none', 'median', 'hard', 'easy'\]"):
        AugmentConfig(spec_augment="mild")
