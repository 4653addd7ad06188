"""The back end that both Pons models share (Pons et al. 2018, section 4 and figure 2), as its TensorFlow code has it.

Shapes: B batch, M features of the front end, F filters, N frames, U units, K tags.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.audio import SAMPLE_RATE

# tf.layers.batch_normalization: epsilon 1e-3 and momentum 0.99, which is 1 - 0.99 in PyTorch's convention.
BN_EPS = 1e-3
BN_MOMENTUM = 0.01
DROPOUT = 0.5
KERNEL = 7
POOL = 2
# tf.contrib's variance_scaling_initializer scales the variance by 1.3, because truncation at two deviations reduces it.
HE_FACTOR = 2.0 * 1.3


def check_whole(**values: object) -> None:
    """Raise ValueError for a value that is not a whole number of at least 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r} must be a whole number of at least 1")


def check_training(dropout: float, norm_momentum: float) -> None:
    """Raise ValueError for a dropout rate or batch norm momentum outside its range."""
    if not 0 < norm_momentum <= 1:
        raise ValueError(f"norm_momentum={norm_momentum!r} must be above 0 and at most 1")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout!r} must be at least 0 and below 1")


def scale_filters(filters: int, width: float) -> int:
    """Return ``filters * width``. Raises ValueError unless width is at most 4 and the product is whole."""
    scaled = filters * width
    if not 0 < width <= 4 or scaled != int(scaled):
        raise ValueError(
            f"frontend_width={width!r} must be above 0, at most 4, and leave whole numbers of filters, "
            "e.g. 0.125, 0.25, 0.5, 1, 2 or 4"
        )
    return int(scaled)


def check_length(num_samples: int, min_len: int) -> None:
    """Raise ValueError, naming the shortest valid input, if ``num_samples`` is less than ``min_len``."""
    if num_samples < min_len:
        min_s = math.ceil(min_len / SAMPLE_RATE * 1000) / 1000
        raise ValueError(
            f"input of {num_samples} samples ({num_samples / SAMPLE_RATE:.3f} s) is too short: "
            f"this model needs at least {min_len} samples ({min_s:.3f} s)"
        )


@dataclass(frozen=True, kw_only=True)
class BackendDials:
    """Dials of the back end.

    ``backend_layers`` counts convolutional layers: the first one, then the residual ones; the paper has 3.
    ``norm_momentum`` is the weight of the current step in batch norm's running statistics. The paper's 0.01 needs about
    500 steps to settle, so a shorter run needs more. ``dropout`` is applied before both dense layers.
    """

    backend_filters: int = 512
    backend_units: int = 500
    backend_layers: int = 3
    norm_momentum: float = BN_MOMENTUM
    dropout: float = DROPOUT

    def __post_init__(self) -> None:
        check_whole(
            backend_filters=self.backend_filters,
            backend_units=self.backend_units,
            backend_layers=self.backend_layers,
        )
        check_training(self.dropout, self.norm_momentum)

    @property
    def min_frames(self) -> int:
        """The fewest frames of the front end that leave at least one frame for the pooling over time."""
        return KERNEL if self.backend_layers == 1 else KERNEL - 1 + POOL


def init_he_truncated(module: nn.Module) -> None:
    """Initialise as tf.contrib's ``variance_scaling_initializer()``, for ``Module.apply``.

    Weights: He, fan-in, truncated normal. Biases: 0.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
        std = math.sqrt(HE_FACTOR / module.weight[0].numel())
        nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def set_norm_momentum(module: nn.Module, momentum: float) -> None:
    """Set the momentum of every batch norm in ``module``."""
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.momentum = momentum


class Residual(nn.Module):
    """h + BN(ReLU(conv7(h))); the length is kept.

    The released code normalises after a transpose, on an axis of size 1, so there is one gamma and one beta for all
    filters. Only this reading gives the paper's parameter counts (222k, 524k).
    """

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(filters, filters, KERNEL, padding=KERNEL // 2)
        self.norm = nn.BatchNorm2d(1, eps=BN_EPS, momentum=BN_MOMENTUM)

    def forward(self, h_BFN: Tensor) -> Tensor:
        branch_BFN = F.relu(self.conv(h_BFN), inplace=True)
        return h_BFN + self.norm(branch_BFN.unsqueeze(1)).squeeze(1)


class Backend(nn.Module):
    """Map ``features_BMN`` to ``logits_BK``, for any N of at least ``dials.min_frames``.

    The first convolution covers all M features and has no padding in time (N - 6 frames). ``backend_layers - 1``
    residual layers follow; max-pool 2/2 comes after the first of them, so with one layer there is no pool. Then: max
    and mean over time, dropout, U units (ReLU, BN), dropout, K logits.
    """

    def __init__(self, num_features: int, num_tags: int, dials: BackendDials) -> None:
        super().__init__()
        filters, units = dials.backend_filters, dials.backend_units
        self.conv = nn.Conv1d(num_features, filters, KERNEL)
        self.norm = nn.BatchNorm1d(filters, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.residuals = nn.ModuleList(Residual(filters) for _ in range(dials.backend_layers - 1))
        self.dropout = nn.Dropout(dials.dropout)
        self.dense = nn.Linear(2 * filters, units)
        self.dense_norm = nn.BatchNorm1d(units, eps=BN_EPS, momentum=BN_MOMENTUM)
        self.output = nn.Linear(units, num_tags)

    def forward(self, features_BMN: Tensor) -> Tensor:
        h_BFN = self.norm(F.relu(self.conv(features_BMN), inplace=True))
        for i, residual in enumerate(self.residuals):
            h_BFN = residual(h_BFN)
            if i == 0:
                h_BFN = F.max_pool1d(h_BFN, POOL)
        pooled_B2F = torch.cat([h_BFN.amax(dim=2), h_BFN.mean(dim=2)], dim=1)
        units_BU = self.dense_norm(F.relu(self.dense(self.dropout(pooled_B2F))))
        return self.output(self.dropout(units_BU))
