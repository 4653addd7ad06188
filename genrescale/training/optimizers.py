"""The optimisers of OptimConfig, for groups of parameters that carry an ``lr_scale``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.sgd import sgd

from genrescale.config.optim import OptimConfig


def build_optimizer(groups: list[dict[str, Any]], optim: OptimConfig) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD with Nesterov momentum over ``groups``; the rate of a group is lr times its ``lr_scale``."""
    groups = [{**group, "lr": optim.lr * group["lr_scale"], "sgd": False} for group in groups]
    if optim.name == "sgd":
        nesterov = optim.momentum > 0
        return torch.optim.SGD(
            groups, lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay, nesterov=nesterov
        )
    first, second = optim.betas
    return AdamThenSgd(
        groups,
        lr=optim.lr,
        betas=(first, second),
        weight_decay=optim.weight_decay,
        decoupled_weight_decay=optim.name == "adamw",
        sgd_momentum=optim.momentum,
    )


class AdamThenSgd(torch.optim.Adam):
    """Adam; the steps of a group whose ``sgd`` is true are SGD's, with Nesterov momentum and an L2 penalty.

    One optimiser for both, because DeepSpeed wraps one: under ZeRO it steps on flat parts of the parameters. Whoever
    changes ``sgd`` clears ``state`` (``Engine.restart``).
    """

    def __init__(self, params: Any, *, sgd_momentum: float, **settings: Any) -> None:
        super().__init__(params, **settings)
        for group in self.param_groups:
            group["sgd_momentum"] = sgd_momentum

    def __setstate__(self, state: dict[str, Any]) -> None:
        torch.optim.Optimizer.__setstate__(self, state)  # Adam's own, for old checkpoints, refuses SGD's state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore
        if not self.param_groups[0]["sgd"]:
            return super().step(closure)
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            momenta = [self.state[parameter].get("momentum_buffer") for parameter in parameters]
            sgd(
                parameters,
                [parameter.grad for parameter in parameters],
                momenta,
                weight_decay=group["weight_decay"],
                momentum=group["sgd_momentum"],
                lr=group["lr"],
                dampening=0.0,
                nesterov=group["sgd_momentum"] > 0,
                maximize=False,
            )
            for parameter, momentum in zip(parameters, momenta, strict=True):
                if momentum is not None:
                    self.state[parameter]["momentum_buffer"] = momentum
        return None
