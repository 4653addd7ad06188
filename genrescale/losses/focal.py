"""The focal family of losses, for multi-label corpora in which most songs lack most tags.

Sources: Lin et al. 2017 (focal), Cui et al. 2019 (class-balanced), Wu et al. 2020 (distribution-balanced), in the
multi-label form of the MediaEval 2020 study (usc-sail, section III-B). Where its paper and its code differ, this
follows the code, which made its tables: sigmoids instead of a softmax, class weights that sum to C, and a
distribution-balanced loss that is focal and is summed over tags, not averaged.

Losses are computed from logits by softplus, so that values and gradients stay finite where a sigmoid is 0 or 1. The
study clamps probabilities to [1e-8, 1 - 1e-8] instead, which gives the same value up to logits of 18 and no gradient
beyond.

A soft tag y (a mixed clip) weighs the loss of a present tag by y and that of an absent one by 1 - y. As in the study,
this is the mixture of the two clips' losses for all that is linear in y. The exception is the rebalancing weight of the
distribution-balanced loss, which here is computed from the mixed tags.

Shapes: B clips, K (C in formulas) tags.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def focal(logits_BK: Tensor, tags_BK: Tensor, alpha: float | None, gamma: float, negative_scale: float = 1.0) -> Tensor:
    """alpha y (1 - p)^gamma (-log p) + (1 - alpha) (1 - y) q^gamma (-log(1 - q)) / s; s is ``negative_scale``.

    p = sigmoid(z) and q = sigmoid(s z); s = 1 is the focal loss. With ``alpha`` None both sides have weight 1. Maps
    ``logits_BK``, ``tags_BK`` (fp32) to ``loss_BK``.
    """
    present, absent = (1.0, 1.0) if alpha is None else (alpha, 1.0 - alpha)
    s = negative_scale
    logits_BK = logits_BK.clamp(-1e30, 1e30)  # keeps products of logits and dials within fp32
    # exp of a softplus: as a power, (1 - p)^gamma has an infinite slope at p = 1 if gamma is below 1.
    present_BK = present * torch.exp(-gamma * F.softplus(logits_BK)) * F.softplus(-logits_BK)
    absent_BK = absent * torch.exp(-gamma * s * F.softplus(-logits_BK, beta=s)) * F.softplus(logits_BK, beta=s)
    return tags_BK * present_BK + (1.0 - tags_BK) * absent_BK


def class_weights(counts_K: np.ndarray, beta: float) -> np.ndarray:
    """(1 - beta) / (1 - beta^n) for n songs of each tag, scaled to sum to K (unscaled in the paper's equation 2)."""
    weights_K = (1.0 - beta) / (1.0 - beta ** counts_K.astype(np.float64))
    return weights_K * (len(weights_K) / weights_K.sum())


def rebalancing(tags_BK: Tensor, counts_K: Tensor, lift: float, slope: float, middle: float) -> Tensor:
    """r_BK = lift + sigmoid(slope (r0 - middle)), where r0 = (1 / n_c) / (sum over the clip's tags of 1 / n).

    With class-aware sampling, a clip is drawn for tag c with a weight of 1 / n_c, but for all of its tags with the
    whole sum. r0 corrects for these co-occurring tags. A clip without tags has an infinite r0, so r = lift + 1.
    """
    inverse_K = 1.0 / counts_K
    r0_BK = inverse_K / (tags_BK * inverse_K).sum(dim=1, keepdim=True)
    return lift + torch.sigmoid(slope * (r0_BK - middle))


def class_bias(counts_K: np.ndarray, num_songs: int, kappa: float, negative_scale: float) -> np.ndarray:
    """nu_c = kappa / s log(N / n_c - 1), subtracted from a tag's logits in training (Wu et al.; / s as in their code).

    The network then does not need to learn low logits for rare tags.
    """
    return kappa / negative_scale * np.log(num_songs / counts_K.astype(np.float64) - 1.0)
