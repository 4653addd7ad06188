"""Contrastive domain adaptation: clips of a class lie together in the embedding, whether real or synthetic.

Shapes: B clips of a group, D dimensions of the embedding (the input of a model's head), K classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from genrescale.config.optim import ContrastConfig
from genrescale.models.parts.head import head_name

_NEAR = 1e-12  # squared distance below which a distance has no slope


def contrastive(embedding_BD: Tensor, class_B: Tensor, real_B: Tensor, margin: float) -> Tensor:
    """The contrastive loss of a group, a scalar in fp32; gradients flow into both ends of a pair.

    Every clip is an anchor. Its positives are the real clips of its class (not itself), its negatives the real clips of
    other classes. With d the Euclidean distance, the loss of an anchor is half the mean of d^2 over its positives plus
    half the mean of max(0, margin - d)^2 over its negatives; a part without pairs is left out. The mean is taken over
    the anchors that have pairs; a group without any has loss 0.

    Source: Kroher et al. 2024 (DA), with tensorflow-addons' contrastive loss (Hadsell et al. 2006). There a positive
    and a negative are drawn for each anchor from all real train songs; here their mean within the group is taken, so
    that a group stays whole on its worker.
    """
    embedding_BD = embedding_BD.float()
    square_BB = (embedding_BD[:, None] - embedding_BD[None]).square().sum(dim=2)
    same_BB = class_B[:, None] == class_B[None]
    other_BB = ~torch.eye(len(class_B), dtype=torch.bool, device=class_B.device) & real_B[None]
    positive_BB, negative_BB = same_BB & other_BB, ~same_BB & other_BB
    hinge_BB = (margin - square_BB.clamp(min=_NEAR).sqrt()).clamp(min=0).square()
    loss_B = 0.5 * _mean_where(square_BB, positive_BB) + 0.5 * _mean_where(hinge_BB, negative_BB)
    anchors_B = (positive_BB | negative_BB).any(dim=1)
    return loss_B.sum() / anchors_B.sum().clamp(min=1)


def _mean_where(values_BB: Tensor, chosen_BB: Tensor) -> Tensor:
    """The mean of each row's chosen values; 0 where there are none."""
    return (values_BB * chosen_BB).sum(dim=1) / chosen_BB.sum(dim=1).clamp(min=1)


def classes(tags_BK: np.ndarray) -> np.ndarray:
    """The class of each clip (B,). Raises ValueError for clips of more than one, or of none.

    Of labels as they were read: the check of a tensor on a GPU would wait for all that the GPU still has to do.
    """
    if not ((tags_BK == 1).sum(axis=1) == 1).all():
        raise ValueError("contrastive training needs clips of one class each: no mixed clips, one tag per song")
    return tags_BK.argmax(axis=1)


class Contrast:
    """The training objective (1 - weight) x the classifier's loss + weight x ``contrastive``.

    It listens to the input of the model's head; so it works for every model.
    """

    def __init__(self, model: nn.Module, num_tags: int, config: ContrastConfig) -> None:
        self._config = config
        self._embedding_BD = torch.empty(0)
        model.get_submodule(head_name(model, num_tags)).register_forward_pre_hook(self._keep)

    def _keep(self, head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._embedding_BD = inputs[0]

    def loss(self, classifier_loss: Tensor, class_B: Tensor, real_B: Tensor) -> Tensor:
        """The objective of the group that the model saw last, whose clips have the ``classes`` ``class_B``."""
        term = contrastive(self._embedding_BD, class_B, real_B, self._config.margin)
        return (1 - self._config.weight) * classifier_loss + self._config.weight * term
