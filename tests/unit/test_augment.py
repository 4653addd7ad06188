"""Augmentation changes what it says, keeps what it should, and is decided by the seed alone."""

from __future__ import annotations

import pytest
import torch

from genrescale.config import AugmentConfig
from genrescale.training.augment import augment, cutmix, mixup, random_gain, random_shift

WAVE_BT = torch.randn(64, 50)
TAGS_BK = torch.eye(64)


def test_nothing_is_changed_by_default():
    state = torch.get_rng_state()
    wave_BT, tags_BK = augment(WAVE_BT, TAGS_BK, AugmentConfig())
    assert wave_BT is WAVE_BT
    assert tags_BK is TAGS_BK
    assert torch.equal(torch.get_rng_state(), state)


def test_gain_scales_each_clip_within_its_range():
    torch.manual_seed(0)
    gain_BT = random_gain(WAVE_BT, 6.0) / WAVE_BT
    torch.testing.assert_close(gain_BT, gain_BT[:, :1].expand(-1, 50))
    decibels_B = 20 * gain_BT[:, 0].log10()
    assert decibels_B.abs().max() <= 6.0
    assert decibels_B.min() < -4 < 4 < decibels_B.max()


def test_shift_rolls_each_clip_within_its_range():
    torch.manual_seed(0)
    ramp_BT = torch.arange(50.0).expand(400, 50)
    shifted_BT = random_shift(ramp_BT, 5)
    shifts_B = shifted_BT.argmin(dim=1)  # where the clip's start has gone
    shifts_B = torch.where(shifts_B > 25, shifts_B - 50, shifts_B)
    assert set(shifts_B.tolist()) == set(range(-5, 6))
    for clip_T, shift in zip(shifted_BT, shifts_B.tolist(), strict=True):
        assert torch.equal(clip_T, ramp_BT[0].roll(shift))


def test_shift_is_in_milliseconds():
    torch.manual_seed(0)
    ramp_BT = torch.arange(1000.0).expand(400, 1000)
    starts_B = augment(ramp_BT, TAGS_BK, AugmentConfig(shift_ms=2.0))[0].argmin(dim=1)
    found = set(starts_B.tolist())
    assert {32, 968} <= found <= {*range(33), *range(968, 1000)}  # 32 samples at 16 kHz
    assert augment(ramp_BT, TAGS_BK, AugmentConfig(shift_ms=2.0))[1] is TAGS_BK


def test_mixup_mixes_clips_and_tags_by_one_share():
    torch.manual_seed(1)
    wave_BT, tags_BK = mixup(WAVE_BT, TAGS_BK, 0.4)
    torch.testing.assert_close(tags_BK.sum(dim=1), torch.ones(64))
    # each clip's tags say what was mixed into it
    torch.testing.assert_close(wave_BT, tags_BK @ WAVE_BT)
    shares = {round(float(value), 5) for value in tags_BK.flatten() if 0 < value < 1}
    assert len(shares) == 2
    assert sum(shares) == pytest.approx(1)


def cut_of(wave_BT: torch.Tensor) -> torch.Tensor:
    """Which samples of the group come from another clip; all clips agree, but for those that met themselves."""
    return (wave_BT != WAVE_BT).any(dim=0)


def test_cutmix_replaces_one_stretch_and_mixes_tags_by_its_length():
    for seed in range(20):
        torch.manual_seed(seed)
        wave_BT, tags_BK = cutmix(WAVE_BT, TAGS_BK, 1.0)
        torch.testing.assert_close(tags_BK.sum(dim=1), torch.ones(64))
        cut_T = cut_of(wave_BT)
        places = cut_T.nonzero().flatten()
        if len(places):
            assert places[-1] - places[0] + 1 == len(places)
        own_BK = torch.eye(64, dtype=torch.bool)
        partner_B = (tags_BK * ~own_BK).argmax(dim=1)
        for clip, partner in enumerate(partner_B.tolist()):
            if tags_BK[clip, partner] > 0 and partner != clip:
                assert float(tags_BK[clip, partner]) == pytest.approx(len(places) / 50)
                assert torch.equal(wave_BT[clip], torch.where(cut_T, WAVE_BT[partner], WAVE_BT[clip]))
            else:
                assert torch.equal(wave_BT[clip], WAVE_BT[clip])


def test_cutmix_draws_its_share_from_beta_and_its_place_evenly():
    torch.manual_seed(0)
    shares, hits_T = [], torch.zeros(50)
    for _ in range(600):
        cut_T = cut_of(cutmix(WAVE_BT, TAGS_BK, 1.0)[0])
        shares.append(float(cut_T.float().mean()))
        hits_T += cut_T
    share_N = torch.tensor(shares)
    # Beta(1, 1) is even on [0, 1]: mean 1/2, standard deviation 0.289, within five errors of 600 draws
    assert share_N.mean() == pytest.approx(0.5, abs=5 * 0.289 / 600**0.5)
    assert share_N.std() == pytest.approx(0.289, abs=0.03)
    # the middle is covered most, both ends alike
    assert hits_T[0] < hits_T[24]
    assert abs(hits_T[:10].sum() - hits_T[40:].sum()) < 0.25 * hits_T[:10].sum()


def test_mixing_twice_keeps_clips_and_tags_together():
    """A clip of its own tag is a constant: what it holds at a sample says whose it is."""
    torch.manual_seed(3)
    wave_BT = torch.arange(64.0)[:, None].expand(64, 5000).contiguous()
    mixed_BT, tags_BK = augment(wave_BT, TAGS_BK, AugmentConfig(mixup_alpha=1.0, cutmix_alpha=1.0))
    torch.testing.assert_close(mixed_BT.mean(dim=1), tags_BK @ torch.arange(64.0), atol=1e-2, rtol=1e-3)
    assert (tags_BK > 0).sum(dim=1).max() == 4


@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(gain_db=3.0),
        AugmentConfig(shift_ms=1.0),
        AugmentConfig(mixup_alpha=0.3),
        AugmentConfig(cutmix_alpha=0.3),
        AugmentConfig(gain_db=3.0, shift_ms=1.0, mixup_alpha=0.3, cutmix_alpha=0.3),
    ],
    ids=["gain", "shift", "mixup", "cutmix", "all"],
)
def test_the_same_seed_augments_alike(config: AugmentConfig):
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(augment(WAVE_BT, TAGS_BK, config)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("name", ["gain_db", "shift_ms", "mixup_alpha", "cutmix_alpha"])
def test_a_setting_below_zero_is_refused(name: str):
    with pytest.raises(ValueError, match=f"{name}=-1.0 must not be negative"):
        AugmentConfig(**{name: -1.0})  # pyright: ignore[reportArgumentType]
