"""Losses over logits, in fp32 whatever the logits' precision, as a mean over clips.

Shapes: B batch (clips), K tags. A mean over clips lets gradients of groups of clips be added with the groups' sizes
as weights: the result is the gradient of the whole batch. Over tags, ``bce``, ``mse`` and ``by_kind`` are means, the
focal family sums (MediaEval 2020). Dials and their defaults are in ``loss_dials``.

Tags may be soft, as mixup and CutMix make them: where a loss is linear in the tags (all but ``mse``, whose gradient
is the same, and ``distribution_balanced``, see ``focal``), that of the mixed tags is the mixture of the two losses.
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
# Losses whose models start by giving every tag this probability: else the many absent tags drown the first steps
# (Lin et al. 2017, section 4.1). As the MediaEval 2020 code has it: neither for BCE nor distribution-balanced.
OUTPUT_PRIOR = {"focal": 0.01, "class_balanced": 0.01}


@dataclass(frozen=True, eq=False)
class TrainTags:
    """What a loss may know of the training songs: how many carry each tag (regress tags: any number), and how many.

    ``class_counts`` and ``num_songs`` are None where they were not given.
    """

    vocabulary: Vocabulary
    class_counts: Sequence[int] | np.ndarray | None = None
    num_songs: int | None = None

    def classes(self) -> list[int]:
        """The classify tags' places in K."""
        return np.flatnonzero(self.vocabulary.classify_K).tolist()

    def counts(self, loss: str) -> np.ndarray:
        """Training songs of every classify tag, for ``loss``, which cannot do without. Raises ValueError.

        A tag of no song is refused: its weight is infinite by the formulas, and any finite one is somebody's guess.
        """
        if self.class_counts is None:
            raise ValueError(f"loss {loss!r} weighs tags by their training songs: give build_loss class_counts=")
        counts_K = np.asarray(self.class_counts)
        if counts_K.shape != (len(self.vocabulary),):
            raise ValueError(f"class_counts has shape {counts_K.shape}; the vocabulary has {len(self.vocabulary)} tags")
        classes = self.classes()
        if missing := [self.vocabulary.names[k] for k in classes if counts_K[k] < 1]:
            named = ", ".join(repr(name) for name in missing[:5]) + (", ..." if len(missing) > 5 else "")
            raise ValueError(
                f"loss {loss!r} weighs tags by their training songs, and {len(missing)} tag(s) have none: {named}; "
                "train on more songs, on a vocabulary without these tags, or with loss=focal"
            )
        return counts_K[classes]


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


def bce(train: TrainTags, dials: NoDials) -> Loss:
    """Binary cross entropy of every tag (Pons 2018 on MTT and MSD). A regress tag is a soft target."""
    return _by_clip(_bce_BK)


def mse(train: TrainTags, dials: NoDials) -> Loss:
    """Squared error of every tag's sigmoid (Pons 2018 on the 1.2M songs, section 4 and footnote 7)."""
    return _by_clip(_squared_error_BK)


def cross_entropy(train: TrainTags, dials: CrossEntropyDials) -> Loss:
    """Softmax cross entropy; ``tags_BK`` holds one-hot rows, or rows that sum to 1 where clips were mixed.

    Label smoothing e turns a target t into (1 - e) t + e / K (Szegedy et al. 2016), also in the validation loss.
    """
    if not train.vocabulary.exclusive:
        raise ValueError(
            "loss 'cross_entropy' needs an exclusive vocabulary (one tag per song); use 'bce' or 'by_kind'"
        )
    smoothing = dials.label_smoothing

    def loss_B(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
        target_BK = (1.0 - smoothing) * tags_BK + smoothing / logits_BK.shape[1]
        # Where a target is 0 its log probability may be -inf, and 0 x -inf is NaN: leave it out instead.
        terms_BK = target_BK * logits_BK.log_softmax(dim=1).masked_fill(target_BK == 0, 0.0)
        return -terms_BK.sum(dim=1)

    return _by_clip(loss_B)


def by_kind(train: TrainTags, dials: NoDials) -> Loss:
    """Each tag by its kind: cross entropy where exclusive; else BCE on classify and squared error on regress tags.

    The two kinds are averaged together over K, so each weighs as many tags as it has.
    """
    if train.vocabulary.exclusive:
        return cross_entropy(train, CrossEntropyDials())
    classify_K = torch.from_numpy(train.vocabulary.classify_K)

    def loss_BK(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
        mask_K = classify_K.to(logits_BK.device, non_blocking=True)
        return torch.where(mask_K, _bce_BK(logits_BK, tags_BK), _squared_error_BK(logits_BK, tags_BK))

    return _by_clip(loss_BK)


def _summed_by_kind(train: TrainTags, classify_BC: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Summed over tags: ``classify_BC`` on the classify tags alone, and squared error on regress tags, as by_kind."""
    regress = np.flatnonzero(train.vocabulary.regress_K).tolist()
    classes = train.classes()

    def loss_B(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
        if not regress:
            return classify_BC(logits_BK, tags_BK).sum(dim=1)
        squares_BR = _squared_error_BK(logits_BK[:, regress], tags_BK[:, regress])
        return classify_BC(logits_BK[:, classes], tags_BK[:, classes]).sum(dim=1) + squares_BR.sum(dim=1)

    return _by_clip(loss_B)


def multi_label_focal(train: TrainTags, dials: FocalDials) -> Loss:
    """Focal loss of every classify tag, summed over tags (MediaEval 2020, equation 1)."""
    return _summed_by_kind(train, lambda logits_BC, tags_BC: focal(logits_BC, tags_BC, dials.alpha, dials.gamma))


def class_balanced(train: TrainTags, dials: ClassBalancedDials) -> Loss:
    """Focal loss without alpha, times ``class_weights`` of the tags (MediaEval 2020, equation 2)."""
    weights_C = _fp32(class_weights(train.counts("class_balanced"), dials.beta))

    def loss_BC(logits_BC: Tensor, tags_BC: Tensor) -> Tensor:
        return weights_C.to(logits_BC.device, non_blocking=True) * focal(logits_BC, tags_BC, None, dials.gamma)

    return _summed_by_kind(train, loss_BC)


def distribution_balanced(train: TrainTags, dials: DistributionBalancedDials) -> Loss:
    """``rebalancing`` x focal loss of logits less ``class_bias``, absent tags with logits x s and loss / s.

    Source: Wu et al. 2020, made focal by MediaEval 2020 (equation 3, which has a mean over tags; their code sums).
    Scores are sigmoids of the plain logits, without the bias, as in the code of Wu et al.
    """
    name = "distribution_balanced"
    counts = train.counts(name)
    counts_C, s = _fp32(counts), dials.negative_scale
    bias_C = torch.zeros(len(counts))
    if dials.kappa:
        if train.num_songs is None or (counts >= train.num_songs).any():
            raise ValueError(
                f"loss {name!r} with kappa={dials.kappa} needs num_songs=, and every tag absent from one of them: "
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
    """``L_d + 10 L_g`` of the columns ``pretext_B3`` (SSAST, Gong et al. 2022); tags are not looked at."""

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
    """``loss(logits_BK, tags_BK)`` -> scalar fp32, the mean over clips.

    ``class_counts`` (K,) are the training songs of each tag, ``num_songs`` all of them: the balanced losses ask for
    them. ``dials`` are those of ``loss_dials.LOSS_DIALS[name]``. Raises ValueError for an unknown name or dial, and for
    a loss that this vocabulary or these counts cannot feed.
    """
    settings = loss_dials(name, dials)
    return LOSSES[name](TrainTags(vocabulary, class_counts, num_songs), settings)


def probabilities(logits_BK: Tensor, vocabulary: Vocabulary, loss: str = "by_kind") -> Tensor:
    """``logits_BK`` -> fp32 (B, K) in [0, 1]: softmax where the loss trained one (exclusive tags), else sigmoid.

    A model trained by ``bce``, ``mse`` or the focal family has K outputs of their own: a softmax over them would change
    each tag's order of songs, and with it ROC-AUC and PR-AUC.
    """
    logits_BK = logits_BK.float()
    trained_softmax = loss == "cross_entropy" or (loss == "by_kind" and vocabulary.exclusive)
    return logits_BK.softmax(dim=1) if trained_softmax else logits_BK.sigmoid()
