"""Losses over logits, in fp32 whatever the logits' precision, as a mean over clips.

Shapes: B batch (clips), K tags. A mean over clips lets gradients of groups of clips be added with the groups' sizes
as weights: the result is the gradient of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from genrescale.audio import Vocabulary

Loss = Callable[[Tensor, Tensor], Tensor]


def _bce_BK(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits_BK, tags_BK, reduction="none")


def _squared_error_BK(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
    return (logits_BK.sigmoid() - tags_BK).square()


def _by_clip(loss_BK: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """A loss of each tag -> its mean over tags and clips, in fp32, on matching shapes."""

    def loss(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
        if logits_BK.shape != tags_BK.shape:
            raise ValueError(f"logits {tuple(logits_BK.shape)} and tags {tuple(tags_BK.shape)} differ in shape")
        return loss_BK(logits_BK.float(), tags_BK.float()).mean()

    return loss


def bce(vocabulary: Vocabulary) -> Loss:
    """Binary cross entropy of every tag (Pons 2018 on MTT and MSD). A regress tag is a soft target."""
    return _by_clip(_bce_BK)


def mse(vocabulary: Vocabulary) -> Loss:
    """Squared error of every tag's sigmoid (Pons 2018 on the 1.2M songs, section 4 and footnote 7)."""
    return _by_clip(_squared_error_BK)


def cross_entropy(vocabulary: Vocabulary) -> Loss:
    """Softmax cross entropy; ``tags_BK`` holds one-hot rows, or rows that sum to 1 where clips were mixed."""
    if not vocabulary.exclusive:
        raise ValueError(
            "loss 'cross_entropy' needs an exclusive vocabulary (one tag per song); use 'bce' or 'by_kind'"
        )

    def loss_BK(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
        # Where a tag is absent its log probability may be -inf, and 0 x -inf is NaN: leave it out instead.
        absent_BK = tags_BK == 0
        terms_BK = tags_BK * logits_BK.log_softmax(dim=1).masked_fill(absent_BK, 0.0)
        return -terms_BK.sum(dim=1)

    return _by_clip(loss_BK)


def by_kind(vocabulary: Vocabulary) -> Loss:
    """Each tag by its kind: cross entropy where exclusive; else BCE on classify and squared error on regress tags.

    The two kinds are averaged together over K, so each weighs as many tags as it has.
    """
    if vocabulary.exclusive:
        return cross_entropy(vocabulary)
    classify_K = torch.from_numpy(vocabulary.classify_K)

    def loss_BK(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
        mask_K = classify_K.to(logits_BK.device, non_blocking=True)
        return torch.where(mask_K, _bce_BK(logits_BK, tags_BK), _squared_error_BK(logits_BK, tags_BK))

    return _by_clip(loss_BK)


LOSSES: dict[str, Callable[[Vocabulary], Loss]] = {
    "by_kind": by_kind,
    "bce": bce,
    "mse": mse,
    "cross_entropy": cross_entropy,
}


def build_loss(name: str, vocabulary: Vocabulary) -> Loss:
    """``loss(logits_BK, tags_BK)`` -> scalar fp32, the mean over clips. Raises ValueError for an unknown name."""
    if name not in LOSSES:
        raise ValueError(f"loss {name!r} is none of {sorted(LOSSES)}")
    return LOSSES[name](vocabulary)


def probabilities(logits_BK: Tensor, vocabulary: Vocabulary, loss: str = "by_kind") -> Tensor:
    """``logits_BK`` -> fp32 (B, K) in [0, 1]: softmax where the loss trained one (exclusive tags), else sigmoid.

    A model trained by ``bce`` or ``mse`` has K outputs of their own: a softmax over them would change each tag's
    order of songs, and with it ROC-AUC and PR-AUC.
    """
    logits_BK = logits_BK.float()
    trained_softmax = loss == "cross_entropy" or (loss == "by_kind" and vocabulary.exclusive)
    return logits_BK.softmax(dim=1) if trained_softmax else logits_BK.sigmoid()
