"""Augmentation of a group of training clips, on the training device. Noise comes from torch's generator.

The engine seeds that generator by (seed, step, group), so a group is augmented alike on whichever worker it runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genrescale.config import AugmentConfig


def augment(wave_BT: Tensor, tags_BK: Tensor, config: AugmentConfig) -> tuple[Tensor, Tensor]:
    """The clips and tags that a group is trained on; both unchanged with the default config."""
    if config.gain_db:
        wave_BT = random_gain(wave_BT, config.gain_db)
    if config.mixup_alpha:
        wave_BT, tags_BK = mixup(wave_BT, tags_BK, config.mixup_alpha)
    return wave_BT, tags_BK


def random_gain(wave_BT: Tensor, gain_db: float) -> Tensor:
    """Every clip louder or softer by up to ``gain_db`` decibels, evenly drawn."""
    gain_B1 = (torch.rand(len(wave_BT), 1, device=wave_BT.device) * 2 - 1) * gain_db
    return wave_BT * 10 ** (gain_B1 / 20)


def mixup(wave_BT: Tensor, tags_BK: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Every clip and its tags mixed with those of another clip of the group, by a share of Beta(alpha, alpha).

    Source: Zhang et al. 2018, mixup, section 2; one share for the group, as in the authors' code.
    """
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    partner_B = torch.randperm(len(wave_BT), device=wave_BT.device)
    return torch.lerp(wave_BT[partner_B], wave_BT, share), torch.lerp(tags_BK[partner_B], tags_BK, share)
