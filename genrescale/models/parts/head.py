"""Find a model's head, the linear layer that makes its logits, and set the initial bias of the head."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def head_name(model: nn.Module, num_tags: int) -> str:
    """Return the name of the head: the last ``nn.Linear`` with ``num_tags`` outputs, in module order.

    Raises ValueError if there is none.
    """
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m.out_features == num_tags]
    if not linear:
        raise ValueError(
            f"{type(model).__name__} has no head, a linear layer with {num_tags} outputs: layer_decay, backbone_lr, "
            "freeze=[all_but_head] and init.take=new_head need one"
        )
    return linear[-1]


def head_bias(model: nn.Module, num_tags: int) -> nn.Parameter:
    """Return the bias (K,) of the model's head. Raises ValueError if the model has no head or the head no bias."""
    head = model.get_submodule(name := head_name(model, num_tags))
    if not isinstance(head.bias, nn.Parameter):
        raise ValueError(f"the head of {type(model).__name__}, {name or 'itself'}, has no bias to set to a prior")
    return head.bias


@contextmanager
def head_inputs(model: nn.Module, num_tags: int) -> Iterator[list[Tensor]]:
    """Collect the inputs of the head during the block, one tensor (B, D) for each forward pass: embeddings."""
    parts: list[Tensor] = []
    head = model.get_submodule(head_name(model, num_tags))
    handle = head.register_forward_pre_hook(lambda _, inputs: parts.append(inputs[0].float().cpu()))
    try:
        yield parts
    finally:
        handle.remove()


@torch.no_grad()
def set_output_prior(model: nn.Module, num_tags: int, prior: float) -> None:
    """Set the head's bias to -log((1 - prior) / prior), so that every tag starts at the probability ``prior``.

    Raises ValueError as ``head_bias`` does. Source: Lin et al. 2017, focal loss, section 4.1.
    """
    head_bias(model, num_tags).fill_(-math.log((1.0 - prior) / prior))
