"""ReLU, batch norm and max-pool as one layer, which saves memory traffic on a CPU.

The maps are large and the work per cell is small: as three layers, these steps and their gradients cost more than the
convolutions between them. The result is that of the three layers. The idea: the pool picks the largest of the
normalised values ``scale * r + offset``, which is the largest r, or the smallest if the scale is negative. So the
choice does not depend on the batch statistics, and only chosen cells have to be normalised. The backward pass needs two
sums over the chosen cells, then writes the gradient in one pass. Of equal maxima the first gets the gradient, as in
PyTorch.

The C++ (fused.cpp) is compiled at first use, in about two seconds. PyTorch's own layers are used without a compiler, on
a GPU and in evaluation. Under bf16 this pool compares cells before they are rounded, PyTorch's after; otherwise the two
differ only in the order of sums.

Shapes: B batch, C channels, R rows, N frames; P frames or rows after the pool, L = R * N.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from genrescale.models.parts.compiled import load

SOURCE = Path(__file__).with_name("fused.cpp")
PIECES = 4  # as in fused.cpp
MAX_POOL = 256  # the index within a pool is stored in one byte


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("B", "L", "C", "P", "K", "step", "stride")]


@cache
def library() -> ctypes.CDLL | None:
    """Compile and load the C++ layer. Returns None, and logs a warning, if that fails."""
    return load(SOURCE)


def _call(name: str, like: Tensor, *arguments: Any) -> None:
    """Call the library function ``name`` for the dtype of ``like``.

    Tensors are passed as pointers, numbers as int64, the thread count last.
    """
    fused = library()
    assert fused is not None
    function = getattr(fused, f"{name}_{str(like.dtype).removeprefix('torch.')}")
    passed = [
        ctypes.c_void_p(argument.data_ptr())
        if isinstance(argument, Tensor)
        else ctypes.c_int64(argument)
        if isinstance(argument, int)
        else argument
        for argument in arguments
    ]
    function(*passed, ctypes.c_int(torch.get_num_threads()))


class _ReluNormPool(torch.autograd.Function):
    """Map contiguous ``h_BRNC`` to the pooled (B, R', N', C), and the mean and biased variance (C,) of ReLU(h)."""

    @staticmethod
    def forward(
        ctx: Any, h_BRNC: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float, pool: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, rows, frames, channels = h_BRNC.shape
        count = pool[0] * pool[1]
        across = pool[0] > 1  # pooling over rows: the cells of one pool are one image row apart
        shape_out = (batch, rows // pool[0], frames // pool[1], channels)
        outputs = shape_out[1] * shape_out[2]
        shape = _Shape(batch, rows * frames, channels, outputs, count, 1 if across else count, frames if across else 1)
        sums = torch.empty(batch * PIECES, 2, channels, dtype=torch.float64)
        selected, chosen = h_BRNC, torch.empty(0, dtype=torch.uint8)
        if count > 1:
            selected = h_BRNC.new_empty(shape_out)
            chosen = torch.empty(shape_out, dtype=torch.uint8)
        sign_C = torch.where(weight_C < 0, -1.0, 1.0)
        _call("select", h_BRNC, ctypes.byref(shape), h_BRNC, sign_C, selected, chosen, sums)
        cells = batch * rows * frames
        mean_C, square_C = sums.sum(dim=0) / cells
        var_C = (square_C - mean_C.square()).clamp_(min=0)
        rstd_C = (var_C + eps).rsqrt()
        scale_C = weight_C.double() * rstd_C
        offset_C = (bias_C.double() - mean_C * scale_C).float()
        pooled = h_BRNC.new_empty(shape_out)
        scale32_C = scale_C.float()
        _call("scale", h_BRNC, selected, scale32_C, offset_C, pooled, batch * outputs, channels)
        ctx.save_for_backward(h_BRNC, selected, chosen, mean_C, rstd_C, scale_C)
        ctx.shape, ctx.cells = shape, cells
        mean32_C, var32_C = mean_C.float(), var_C.float()
        ctx.mark_non_differentiable(mean32_C, var32_C)
        return pooled, mean32_C, var32_C

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore
        h_BRNC, selected, chosen, mean_C, rstd_C, scale_C = ctx.saved_tensors
        shape: _Shape = ctx.shape
        gradient = gradients[0].to(h_BRNC.dtype).contiguous()
        sums = torch.empty(shape.B * PIECES, 2, shape.C, dtype=torch.float64)
        _call("sums", h_BRNC, gradient, selected, sums, shape.B, shape.P, shape.C)
        bias_grad_C, product_C = sums.sum(dim=0)
        weight_grad_C = rstd_C * (product_C - mean_C * bias_grad_C)
        # gradient of batch norm: scale * (gradient - mean(gradient) - x_hat * mean(gradient * x_hat))
        slope_C = -scale_C * rstd_C * weight_grad_C / ctx.cells
        offset_C = -scale_C * bias_grad_C / ctx.cells - slope_C * mean_C
        result = torch.empty_like(h_BRNC)
        coefficients = [values.float() for values in (scale_C, offset_C, slope_C)]
        _call("spread", h_BRNC, ctypes.byref(shape), gradient, h_BRNC, chosen, *coefficients, result)
        return result, weight_grad_C.float(), bias_grad_C.float(), None, None


class ReluNormPool2d(nn.BatchNorm2d):
    """Compute max-pool(BN(ReLU(h))) of ``h_BCRN``, for a pool (1, K), (R, 1) over all rows, or (1, 1) for none.

    In all else it is a BatchNorm2d, with the same parameters, statistics and names. It may overwrite ``h``.
    """

    def forward(  # pyright: ignore
        self, h_BCRN: Tensor | Sequence[Tensor], pool: tuple[int, int] = (1, 1)
    ) -> Tensor:
        """Apply the layer. A sequence holds parts of h by channel; joining them after the pool is cheaper."""
        parts = [h_BCRN] if isinstance(h_BCRN, Tensor) else list(h_BCRN)
        if not all(self._can_fuse(part_BCRN, pool) for part_BCRN in parts):
            h_BCRN = parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)
            if h_BCRN.shape[2] > 1:  # PyTorch's channels-last batch norm is less exact in fp32
                h_BCRN = h_BCRN.contiguous()
            h_BCRN = super().forward(F.relu(h_BCRN, inplace=True))
            return h_BCRN if pool == (1, 1) else F.max_pool2d(h_BCRN, pool)
        sizes = [part_BCRN.shape[1] for part_BCRN in parts]
        done = [
            _ReluNormPool.apply(part_BCRN.permute(0, 2, 3, 1).contiguous(), weight_C, bias_C, self.eps, pool)
            for part_BCRN, weight_C, bias_C in zip(parts, self.weight.split(sizes), self.bias.split(sizes), strict=True)
        ]
        cells = parts[0].numel() // sizes[0]
        self._follow(torch.cat([mean_C for _, mean_C, _ in done]), torch.cat([var_C for _, _, var_C in done]), cells)
        return torch.cat([pooled for pooled, _, _ in done], dim=3).permute(0, 3, 1, 2)

    def _can_fuse(self, h_BCRN: Tensor, pool: tuple[int, int]) -> bool:
        rows, frames = h_BCRN.shape[2:]
        return (
            self.training
            and h_BCRN.device.type == "cpu"
            and h_BCRN.dtype in (torch.float32, torch.bfloat16)
            and self.weight.dtype == torch.float32
            and max(pool) <= MAX_POOL
            and (pool[0] in (1, rows) if pool[1] == 1 else pool[0] == 1 and rows == 1)
            and frames >= pool[1]
            and h_BCRN.numel() > h_BCRN.shape[1]  # one cell has no variance: PyTorch raises for it
            and not torch.compiler.is_compiling()
            and library() is not None
        )

    @torch.no_grad()
    def _follow(self, mean_C: Tensor, var_C: Tensor, cells: int) -> None:
        """Update the running statistics with a step's, with the unbiased variance as in PyTorch."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C, momentum)
        self.running_var.lerp_(var_C * (cells / (cells - 1)), momentum)


def one_channel(image_BRN: Tensor) -> Tensor:
    """Return ``image_BRN`` as (B, 1, R, N) in channels-last memory.

    With one channel, PyTorch cannot tell this layout from the shape. A CPU convolves channels-last maps up to 10 %
    faster, and the first layer several times faster.
    """
    return image_BRN.contiguous().unsqueeze(3).permute(0, 3, 1, 2)
