"""Loss functions of logits, computed in fp32 for any precision of the logits, as a mean over clips.

Shapes: B batch (clips), K tags. Because a loss is a mean over clips, gradients of groups of clips can be averaged with
the group sizes as weights, which gives the gradient of the whole batch. Over tags, ``bce``, ``mse`` and ``by_kind``
average; the focal family sums (MediaEval 2020). Dials and their defaults are in ``genrescale.config.losses``.

Tags may be soft, from mixup and CutMix. Most losses are linear in the tags, so the loss of mixed tags is the mixture of
the two losses. Exceptions: ``mse``, where only the gradients agree, and ``distribution_balanced`` (see ``focal``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from genrescale.audio import Vocabulary
from genrescale.config.losses import (
    PRETEXT,
    ClassBalancedDials,
    CrossEntropyDials,
    DistributionBalancedDials,
    FocalDials,
    NoDials,
    PretextDials,
    loss_dials,
)
from genrescale.losses.focal import class_bias, class_weights, focal, rebalancing

Loss = Callable[[Tensor, Tensor], Tensor]
# Initial probability of every tag, for the losses whose first steps the many absent tags would otherwise dominate
# (Lin et al. 2017, section 4.1). As in the MediaEval 2020 code, neither for BCE nor for distribution-balanced.
OUTPUT_PRIOR = {"focal": 0.01, "class_balanced": 0.01}


@dataclass(frozen=True, eq=False)
class TrainTags:
    """What a loss may use of the training songs: the vocabulary, the songs of each tag, and the number of songs.

    ``class_counts`` (K,) counts the songs with each tag; entries of regress tags are ignored. It and ``num_songs`` are
    None if not given.
    """

    vocabulary: Vocabulary
    class_counts: Sequence[int] | np.ndarray | None = None
    num_songs: int | None = None

    def classes(self) -> list[int]:
        """Return the indices of the classify tags."""
        return np.flatnonzero(self.vocabulary.classify_K).tolist()

    def counts(self, loss: str) -> np.ndarray:
        """Return the number of training songs of every classify tag, for the loss named ``loss``.

        Raises ValueError if the counts are missing, and for a tag without songs: its weight would be infinite.
        """
        if self.class_counts is None:
            raise ValueError(f"loss {loss!r} weighs tags by their training songs: pass class_counts= to build_loss")
        counts_K = np.asarray(self.class_counts)
        if counts_K.shape != (len(self.vocabulary),):
            raise ValueError(f"class_counts has shape {counts_K.shape}; the vocabulary has {len(self.vocabulary)} tags")
        classes = self.classes()
        if missing := [self.vocabulary.names[k] for k in classes if counts_K[k] < 1]:
            named = ", ".join(repr(name) for name in missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise ValueError(
                f"loss {loss!r} weighs tags by their training songs, but {len(missing)} tag(s) have none: {named}; "
                "train on more songs, on a vocabulary without these tags, or with loss=focal"
            )
        return counts_K[classes]


def _bce_BK(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits_BK, tags_BK, reduction="none")


def _squared_error_BK(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
    return (logits_BK.sigmoid() - tags_BK).square()


def _by_clip(loss_BK: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Make a loss from one that returns a value for each tag or clip: the mean in fp32, with a check of shapes."""

    def loss(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
        if logits_BK.shape != tags_BK.shape:
            raise ValueError(f"logits {tuple(logits_BK.shape)} and tags {tuple(tags_BK.shape)} differ in shape")
        return loss_BK(logits_BK.float(), tags_BK.float()).mean()

    return loss


def bce(train: TrainTags, dials: NoDials) -> Loss:
    """Binary cross entropy over all tags (Pons 2018 on MTT and MSD). A regress tag is a soft target."""
    return _by_clip(_bce_BK)


def mse(train: TrainTags, dials: NoDials) -> Loss:
    """Squared error of the sigmoid over all tags (Pons 2018 on the 1.2M songs, section 4 and footnote 7)."""
    return _by_clip(_squared_error_BK)


def cross_entropy(train: TrainTags, dials: CrossEntropyDials) -> Loss:
    """Softmax cross entropy. Rows of ``tags_BK`` are one-hot, or sum to 1 for mixed clips.

    Label smoothing e replaces a target t by (1 - e) t + e / K (Szegedy et al. 2016), in the validation loss too.
    """
    if not train.vocabulary.exclusive:
        raise ValueError(
            "loss 'cross_entropy' needs an exclusive vocabulary (one tag per song); use 'bce' or 'by_kind'"
        )
    smoothing = dials.label_smoothing

    def loss_B(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
        target_BK = (1.0 - smoothing) * tags_BK + smoothing / logits_BK.shape[1]
        # A target of 0 may have the log probability -inf, and 0 x -inf is NaN, so such terms are set to 0.
        terms_BK = target_BK * logits_BK.log_softmax(dim=1).masked_fill(target_BK == 0, 0.0)
        return -terms_BK.sum(dim=1)

    return _by_clip(loss_B)


def by_kind(train: TrainTags, dials: NoDials) -> Loss:
    """Choose the loss by kind of tag: BCE for classify tags and squared error for regress tags.

    An exclusive vocabulary gets cross entropy instead. Both kinds are averaged together over K, so every tag weighs the
    same.
    """
    if train.vocabulary.exclusive:
        return cross_entropy(train, CrossEntropyDials())
    classify_K = torch.from_numpy(train.vocabulary.classify_K)

    def loss_BK(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
        mask_K = classify_K.to(logits_BK.device, non_blocking=True)
        return torch.where(mask_K, _bce_BK(logits_BK, tags_BK), _squared_error_BK(logits_BK, tags_BK))

    return _by_clip(loss_BK)


def _summed_by_kind(train: TrainTags, classify_BC: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Make a loss summed over tags: ``classify_BC`` on classify tags, squared error on regress tags."""
    regress = np.flatnonzero(train.vocabulary.regress_K).tolist()
    classes = train.classes()

    def loss_B(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
        if not regress:
            return classify_BC(logits_BK, tags_BK).sum(dim=1)
        squares_BR = _squared_error_BK(logits_BK[:, regress], tags_BK[:, regress])
        return classify_BC(logits_BK[:, classes], tags_BK[:, classes]).sum(dim=1) + squares_BR.sum(dim=1)

    return _by_clip(loss_B)


def multi_label_focal(train: TrainTags, dials: FocalDials) -> Loss:
    """Focal loss of the classify tags, summed over tags (MediaEval 2020, equation 1)."""
    return _summed_by_kind(train, lambda logits_BC, tags_BC: focal(logits_BC, tags_BC, dials.alpha, dials.gamma))


def class_balanced(train: TrainTags, dials: ClassBalancedDials) -> Loss:
    """Focal loss without alpha, multiplied by the ``class_weights`` of the tags (MediaEval 2020, equation 2)."""
    weights_C = _fp32(class_weights(train.counts("class_balanced"), dials.beta))

    def loss_BC(logits_BC: Tensor, tags_BC: Tensor) -> Tensor:
        return weights_C.to(logits_BC.device, non_blocking=True) * focal(logits_BC, tags_BC, None, dials.gamma)

    return _summed_by_kind(train, loss_BC)


def distribution_balanced(train: TrainTags, dials: DistributionBalancedDials) -> Loss:
    """Focal loss with ``rebalancing`` weights, of logits minus ``class_bias``; absent tags: logits x s, loss / s.

    s is ``negative_scale``. Source: Wu et al. 2020, made focal by MediaEval 2020 (equation 3, which has a mean over
    tags; their code sums). Scores are sigmoids of the plain logits, without the bias, as in the code of Wu et al.
    """
    name = "distribution_balanced"
    counts = train.counts(name)
    counts_C, s = _fp32(counts), dials.negative_scale
    bias_C = torch.zeros(len(counts))
    if dials.kappa:
        if train.num_songs is None or (counts >= train.num_songs).any():
            raise ValueError(
                f"loss {name!r} with kappa={dials.kappa} needs num_songs=, and for every tag a song without it: "
                f"num_songs is {train.num_songs}, and a tag has {counts.max()} songs"
            )
        bias_C = _fp32(class_bias(counts, train.num_songs, dials.kappa, s))

    def loss_BC(logits_BC: Tensor, tags_BC: Tensor) -> Tensor:
        device = logits_BC.device
        r_BC = rebalancing(tags_BC, counts_C.to(device, non_blocking=True), dials.r_lift, dials.r_slope, dials.r_middle)
        shifted_BC = logits_BC - bias_C.to(device, non_blocking=True)
        return dials.scale * r_BC * focal(shifted_BC, tags_BC, dials.alpha, dials.gamma, s)

    return _summed_by_kind(train, loss_BC)


def pretext(train: TrainTags, dials: PretextDials) -> Loss:
    """``L_d + 10 L_g`` of the columns of ``pretext_B3`` (SSAST, Gong et al. 2022). Tags are ignored."""

    def loss(pretext_B3: Tensor, tags_BK: Tensor) -> Tensor:
        discriminative, generative, _ = pretext_B3.float().mean(dim=0)
        return discriminative + dials.generative_weight * generative

    return loss


def _fp32(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


LOSSES: dict[str, Callable[[TrainTags, Any], Loss]] = {
    "by_kind": by_kind,
    "bce": bce,
    "mse": mse,
    "cross_entropy": cross_entropy,
    "focal": multi_label_focal,
    "class_balanced": class_balanced,
    "distribution_balanced": distribution_balanced,
    PRETEXT: pretext,
}


def build_loss(
    name: str,
    vocabulary: Vocabulary,
    class_counts: Sequence[int] | np.ndarray | None = None,
    num_songs: int | None = None,
    **dials: float | None,
) -> Loss:
    """Build ``loss(logits_BK, tags_BK)``, which returns an fp32 scalar, the mean over clips.

    ``class_counts`` (K,) are the training songs of each tag, ``num_songs`` is the number of training songs: the
    balanced losses need them. ``dials`` are those of ``genrescale.config.losses.LOSS_DIALS[name]``. Raises ValueError
    for an unknown name or dial, and if the vocabulary or counts do not suit the loss.
    """
    settings = loss_dials(name, dials)
    return LOSSES[name](TrainTags(vocabulary, class_counts, num_songs), settings)


def probabilities(logits_BK: Tensor, vocabulary: Vocabulary, loss: str = "by_kind") -> Tensor:
    """Convert ``logits_BK`` to fp32 probabilities (B, K): softmax if the loss trained a softmax, else sigmoid.

    A softmax is trained by ``cross_entropy``, and by ``by_kind`` on an exclusive vocabulary. ``bce``, ``mse`` and the
    focal family train K independent outputs. A softmax over those would change the order of songs for each tag, and
    with it ROC-AUC and PR-AUC.
    """
    logits_BK = logits_BK.float()
    trained_softmax = loss == "cross_entropy" or (loss == "by_kind" and vocabulary.exclusive)
    return logits_BK.softmax(dim=1) if trained_softmax else logits_BK.sigmoid()
