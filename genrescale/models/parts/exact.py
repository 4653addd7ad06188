"""Parts of a model that are computed in float32 whatever the run's precision is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def exactly(input: Tensor) -> AbstractContextManager[object]:
    """Without autocast, in the block; tensors that have only a shape (``meta``) know none."""
    if input.device.type == "meta":
        return nullcontext()
    return torch.autocast(device_type=input.device.type, enabled=False)
