"""How many operations a training clip costs a model, and how many a device does in a second.

Shapes: B clips, T samples.
"""

from __future__ import annotations

import copy
import logging
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_CLIPS = 2  # batch norm needs two
_SIDE = {"cpu": 1024, "cuda": 8192}  # of the matrices of the measured product
_PRODUCTS = 3
_log = logging.getLogger(__name__)


def clip_flops(model: nn.Module, crop_len: int) -> float:
    """Operations of convolutions and matrix products for one clip, forward and backward.

    Counted from shapes alone, on a copy without memory. Returns 0 where they are not known: for a recurrent model,
    whose every time step would be counted by itself, which takes minutes, and for one that does not compute without
    memory, which a log says.
    """
    if any(isinstance(part, nn.RNNBase) for part in model.modules()):
        return 0.0
    try:
        bare = copy.deepcopy(model).to("meta").train()
        wave_BT = torch.empty(_CLIPS, crop_len, device="meta")
        with FlopCounterMode(display=False) as counter:
            bare(wave_BT).float().sum().backward()
        return counter.get_total_flops() / _CLIPS
    except Exception as error:  # a model of somebody's own may do anything
        _log.warning("operations of %s are not counted: %s", type(model).__name__, error)
        return 0.0


def device_flops_per_s(device: torch.device, precision: str) -> float:
    """Operations per second of a large matrix product in this precision: the best of a few."""
    dtype, side = torch.bfloat16 if precision == "bf16" else torch.float32, _SIDE[device.type]
    a = torch.ones(side, side, device=device, dtype=dtype)
    return max(2 * side**3 / _product_s(a) for _ in range(_PRODUCTS))


def _product_s(a: torch.Tensor) -> float:
    began = time.perf_counter()
    float((a @ a)[0, 0])  # reading a value waits for a GPU
    return time.perf_counter() - began
