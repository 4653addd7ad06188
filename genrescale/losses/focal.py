"""The focal family: losses of every tag for corpora in which most tags are absent from most songs.

Sources: Lin et al. 2017 (focal), Cui et al. 2019 (class-balanced), Wu et al. 2020 (distribution-balanced), as the
MediaEval 2020 study (usc-sail, section III-B) made them multi-label. Where its paper and its code differ, this is the
code, with which its tables were made: sigmoids instead of a softmax, class weights that sum to C, a distribution-
balanced loss that is focal and is summed over tags, not averaged.

Every function maps ``logits_BK``, ``tags_BK`` (fp32) to ``loss_BK``. All is computed from logits, by softplus, so that
values and gradients stay finite where a sigmoid is 0 or 1; the study clamps probabilities to [1e-8, 1 - 1e-8] instead,
which is the same number up to logits of 18 and has no gradient beyond.

Soft tags (a clip mixed of two) weigh the loss of a tag that is there and that of one that is not by y and 1 - y. That
is the study's way, the mixture of the two clips' losses, for every part that is linear in y: all but the rebalancing
weight of the distribution-balanced loss, which here is the weight of the mixed tags.

Shapes: B clips, K (of a formula: C) tags.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def focal(logits_BK: Tensor, tags_BK: Tensor, alpha: float | None, gamma: float, negative_scale: float = 1.0) -> Tensor:
    """alpha y (1 - p)^gamma (-log p) + (1 - alpha) (1 - y) q^gamma (-log(1 - q)) / s; s is ``negative_scale``.

    p = sigmoid(z), q = sigmoid(s z): focal loss for s = 1. ``alpha`` None weighs both sides by 1.
    """
    there, absent = (1.0, 1.0) if alpha is None else (alpha, 1.0 - alpha)
    s = negative_scale
    logits_BK = logits_BK.clamp(-1e30, 1e30)  # so that products of a logit and a few dials stay within fp32
    # (1 - p)^gamma as a power would have an infinite slope at p = 1 for a gamma below 1.
    there_BK = there * torch.exp(-gamma * F.softplus(logits_BK)) * F.softplus(-logits_BK)
    absent_BK = absent * torch.exp(-gamma * s * F.softplus(-logits_BK, beta=s)) * F.softplus(logits_BK, beta=s)
    return tags_BK * there_BK + (1.0 - tags_BK) * absent_BK


def class_weights(counts_K: np.ndarray, beta: float) -> np.ndarray:
    """(1 - beta) / (1 - beta^n) for the n songs of each tag, scaled to sum to K (the paper's equation 2 is not)."""
    weights_K = (1.0 - beta) / (1.0 - beta ** counts_K.astype(np.float64))
    return weights_K * (len(weights_K) / weights_K.sum())


def rebalancing(tags_BK: Tensor, counts_K: Tensor, lift: float, slope: float, middle: float) -> Tensor:
    """r_BK = lift + sigmoid(slope (r0 - middle)), where r0 = (1 / n_c) / (sum over the clip's tags of 1 / n).

    A tag is drawn for itself with 1 / n_c and with the whole sum for a clip that carries it: r0 makes up for the tags
    that come along. A clip without tags has r0 infinite, so r is lift + 1.
    """
    inverse_K = 1.0 / counts_K
    r0_BK = inverse_K / (tags_BK * inverse_K).sum(dim=1, keepdim=True)
    return lift + torch.sigmoid(slope * (r0_BK - middle))


def class_bias(counts_K: np.ndarray, num_songs: int, kappa: float, negative_scale: float) -> np.ndarray:
    """nu_c = kappa / s log(N / n_c - 1), by which a tag's logits are lowered in training (Wu et al.; their code's / s).

    The network then need not learn to hold down the logits of rare tags by itself.
    """
    return kappa / negative_scale * np.log(num_songs / counts_K.astype(np.float64) - 1.0)
