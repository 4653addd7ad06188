"""Augmentation changes what it says, keeps what it should, and is decided by the seed alone."""

from __future__ import annotations

import pytest
import torch

from genrescale.config import AugmentConfig
from genrescale.data.augment import augment, mixup, random_gain

WAVE_BT = torch.randn(64, 50)
TAGS_BK = torch.eye(64)


def test_nothing_is_changed_by_default():
    wave_BT, tags_BK = augment(WAVE_BT, TAGS_BK, AugmentConfig())
    assert wave_BT is WAVE_BT
    assert tags_BK is TAGS_BK


def test_gain_scales_each_clip_within_its_range():
    torch.manual_seed(0)
    gain_BT = random_gain(WAVE_BT, 6.0) / WAVE_BT
    torch.testing.assert_close(gain_BT, gain_BT[:, :1].expand(-1, 50))
    decibels_B = 20 * gain_BT[:, 0].log10()
    assert decibels_B.abs().max() <= 6.0
    assert decibels_B.min() < -4 < 4 < decibels_B.max()


def test_mixup_mixes_clips_and_tags_by_one_share():
    torch.manual_seed(1)
    wave_BT, tags_BK = mixup(WAVE_BT, TAGS_BK, 0.4)
    torch.testing.assert_close(tags_BK.sum(dim=1), torch.ones(64))
    # each clip's tags say what was mixed into it
    torch.testing.assert_close(wave_BT, tags_BK @ WAVE_BT)
    shares = {round(float(value), 5) for value in tags_BK.flatten() if 0 < value < 1}
    assert len(shares) == 2
    assert sum(shares) == pytest.approx(1)


def test_the_same_seed_augments_alike():
    config = AugmentConfig(gain_db=3.0, mixup_alpha=0.3)
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(augment(WAVE_BT, TAGS_BK, config)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
