"""The output layer of any model: where its logits' bias is, and what it starts at."""

from __future__ import annotations

import math

import torch
from torch import nn


def output_layer(model: nn.Module, num_tags: int) -> nn.Linear:
    """The last dense layer of ``num_tags`` outputs, in the order of the model's modules.

    Raises ValueError for a model without one, or one without a bias.
    """
    dense = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == num_tags]
    if not dense or dense[-1].bias is None:
        raise ValueError(f"{type(model).__name__} has no dense layer of {num_tags} outputs with a bias")
    return dense[-1]


@torch.no_grad()
def set_output_prior(model: nn.Module, num_tags: int, prior: float) -> None:
    """Start every tag at the probability ``prior``: the output bias becomes -log((1 - prior) / prior).

    Source: Lin et al. 2017, focal loss, section 4.1.
    """
    output_layer(model, num_tags).bias.fill_(-math.log((1.0 - prior) / prior))
