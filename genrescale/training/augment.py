"""Augmentation of a group of training clips, on the training device. Noise comes from torch's generator.

The engine seeds that generator by (seed, step, group), so a group is augmented alike on whichever worker it runs.
SpecAugment is in ``models.spec_augment``: it works on what a model's front end makes of the clips.
Shapes: B clips, T samples, K tags.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genrescale.audio import seconds_to_len
from genrescale.config import AugmentConfig


def augment(wave_BT: Tensor, tags_BK: Tensor, config: AugmentConfig) -> tuple[Tensor, Tensor]:
    """The clips and tags that a group is trained on; both unchanged with the default config."""
    if config.gain_db:
        wave_BT = random_gain(wave_BT, config.gain_db)
    if config.shift_ms:
        wave_BT = random_shift(wave_BT, seconds_to_len(config.shift_ms / 1000))
    if config.mixup_alpha:
        wave_BT, tags_BK = mixup(wave_BT, tags_BK, config.mixup_alpha)
    if config.cutmix_alpha:
        wave_BT, tags_BK = cutmix(wave_BT, tags_BK, config.cutmix_alpha)
    return wave_BT, tags_BK


def random_gain(wave_BT: Tensor, gain_db: float) -> Tensor:
    """Every clip louder or softer by up to ``gain_db`` decibels, evenly drawn."""
    gain_B1 = (torch.rand(len(wave_BT), 1, device=wave_BT.device) * 2 - 1) * gain_db
    return wave_BT * 10 ** (gain_B1 / 20)


def random_shift(wave_BT: Tensor, max_len: int) -> Tensor:
    """Every clip later or earlier by up to ``max_len`` samples, evenly drawn; what leaves at one end comes in at the
    other, so that no clip gains silence (SSAST rolls its spectrograms so).
    """
    shifts_B = torch.randint(-max_len, max_len + 1, (len(wave_BT),)).tolist()
    return torch.stack([wave_T.roll(shift) for wave_T, shift in zip(wave_BT, shifts_B, strict=True)])


def mixup(wave_BT: Tensor, tags_BK: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Every clip and its tags mixed with those of another clip of the group, by a share of Beta(alpha, alpha).

    Source: Zhang et al. 2018, mixup, section 2; one share for the group, as in the authors' code.
    """
    share, partner_B = _share(alpha), _partners(wave_BT)
    return torch.lerp(wave_BT[partner_B], wave_BT, share), torch.lerp(tags_BK[partner_B], tags_BK, share)


def cutmix(wave_BT: Tensor, tags_BK: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """A stretch of every clip replaced by the same stretch of another clip of the group, tags mixed by their time.

    Source: Yun et al. 2019, CutMix, section 3.1, in one dimension: what is kept is a share of Beta(alpha, alpha); one
    stretch for the group, as in the authors' code. It lies wholly inside the clip, where theirs may hang over its edge,
    so the share stays as it was drawn, but for the rounding to samples.
    """
    num_samples = wave_BT.shape[1]
    cut_len = num_samples - round(_share(alpha) * num_samples)
    start = int(torch.randint(num_samples - cut_len + 1, ()))
    partner_B = _partners(wave_BT)
    mixed_BT = wave_BT.clone()
    mixed_BT[:, start : start + cut_len] = wave_BT[partner_B, start : start + cut_len]
    return mixed_BT, torch.lerp(tags_BK, tags_BK[partner_B], cut_len / num_samples)


def _share(alpha: float) -> float:
    return float(torch.distributions.Beta(alpha, alpha).sample())


def _partners(wave_BT: Tensor) -> Tensor:
    """Another clip for each, now and then itself."""
    return torch.randperm(len(wave_BT), device=wave_BT.device)
