"""A model's parameters in the order of its layers: what is trained, at which rate, and which come from another run.

No model lists its parameters. Its **layers** follow from how its modules are registered: every item of an
``nn.ModuleList`` or ``nn.Sequential`` is a layer as a whole (a transformer's block), and so is every other module that
holds parameters itself. A layer without a matrix or kernel (a norm) belongs to the layer before it; a list of them
beside a list of the same length belongs to that, item by item (``convs[i]`` and ``norms[i]``). Layers that lie in
parallel (the branches of a front end) count one after the other; a stacked ``nn.LSTM`` is one layer. The **head** is
the last ``nn.Linear`` with as many outputs as there are tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from genrescale.config.optim import ALL_BUT_HEAD, OptimConfig
from genrescale.models.parts.head import head_name


def is_below(name: str, prefix: str) -> bool:
    """True for the module or parameter ``prefix`` and everything in it."""
    return name == prefix or name.startswith(f"{prefix}.")


def layers(model: nn.Module, head: str) -> list[list[str]]:
    """The names of all parameters, by layer from the input on; the head is the last layer."""
    found: list[list[str]] = []
    parameters = dict(model.named_parameters())
    for modules in _units(model, ""):
        names = [name for name in parameters if any(is_below(name, module) for module in modules)]
        names = [name for name in names if not is_below(name, head)]
        if found and all(parameters[name].ndim < 2 for name in names):
            found[-1] += names
        elif names:
            found.append(names)
    return [*found, [name for name in parameters if is_below(name, head)]]


def _units(module: nn.Module, name: str) -> Iterator[list[str]]:
    """Modules (or parameters of a module with children) that are layers together, as lists of names."""
    dot = f"{name}." if name else ""
    children = list(module.named_children())
    own = [f"{dot}{parameter}" for parameter, _ in module.named_parameters(recurse=False)]
    if own:
        yield own if children else [name]
    if isinstance(module, nn.ModuleList | nn.Sequential):
        yield from ([f"{dot}{child}"] for child, _ in children)
        return
    done: set[str] = set()
    for child_name, child in children:
        if child_name in done:
            continue
        if isinstance(child, nn.ModuleList):
            beside = [n for n, m in children if isinstance(m, nn.ModuleList) and len(m) == len(child) and _vectors(m)]
            together = list(dict.fromkeys([child_name, *beside]))
            done |= set(together)
            yield from ([f"{dot}{n}.{i}" for n in together] for i in range(len(child)))
        else:
            yield from _units(child, f"{dot}{child_name}")


def _vectors(module: nn.Module) -> bool:
    """True for a module without a matrix or kernel, such as a norm."""
    return all(parameter.ndim < 2 for parameter in module.parameters())


def rate_scales(model: nn.Module, optim: OptimConfig, num_tags: int | None) -> dict[str, float]:
    """What each parameter's rate is multiplied by: 1 for the head.

    ``layer_decay`` d gives the layer k places below the head d**k (Clark et al. 2020, ELECTRA, section 3.2);
    ``backbone_lr`` gives all of them backbone_lr / lr (the two groups of the GTZAN project).
    """
    if optim.layer_decay == 1 and optim.backbone_lr == 0:
        return dict.fromkeys((name for name, _ in model.named_parameters()), 1.0)
    by_layer = layers(model, head_name(model, _known(num_tags)))
    below = [optim.backbone_lr / optim.lr] * len(by_layer) if optim.backbone_lr else None
    return {
        name: 1.0 if height == 0 else below[height] if below else optim.layer_decay**height
        for height, names in enumerate(reversed(by_layer))
        for name in names
    }


def _known(num_tags: int | None) -> int:
    if num_tags is None:
        raise ValueError("the engine was not told num_tags, by which it knows the head")
    return num_tags


@dataclass(frozen=True)
class Trained:
    """``groups`` for an optimiser, each with its ``lr_scale``, and the batch norms that stay in evaluation mode."""

    groups: list[dict[str, Any]]
    frozen_norms: list[_BatchNorm]


def choose_trained(model: nn.Module, optim: OptimConfig, num_tags: int | None) -> Trained:
    """Freeze what ``optim.freeze`` names and group the rest by rate, in the order of the model's parameters.

    A batch norm below a frozen name keeps its running statistics too: it normalises by them, in training as in scoring.
    Raises ValueError for a name that no submodule has, and where nothing is left to train.
    """
    scales = rate_scales(model, optim, num_tags)
    modules = dict(model.named_modules())
    if optim.freeze == [ALL_BUT_HEAD]:
        head = head_name(model, _known(num_tags))

        def frozen(name: str) -> bool:
            return not is_below(name, head)
    else:
        unknown = [name for name in optim.freeze if name not in modules]
        if unknown:
            tops = [name for name, _ in model.named_children()]
            raise ValueError(
                f"freeze={unknown}: no such submodules; the model has {tops}, their parts, or {ALL_BUT_HEAD}"
            )

        def frozen(name: str) -> bool:
            return any(is_below(name, prefix) for prefix in optim.freeze)

    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and not frozen(name))
        if parameter.requires_grad:
            groups.setdefault(scales[name], []).append(parameter)
    if not groups:
        raise ValueError(f"freeze={optim.freeze} leaves nothing to train")
    norms = [module for name, module in modules.items() if isinstance(module, _BatchNorm) and frozen(name)]
    return Trained([{"params": params, "lr_scale": scale} for scale, params in groups.items()], norms)


def learned_names(model: nn.Module) -> list[str]:
    """The entries of the state dict that training makes: parameters and batch norms' statistics, no filterbanks."""
    norms = {name for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    parameters = {name for name, _ in model.named_parameters()}
    return [name for name in model.state_dict() if name in parameters or name.rpartition(".")[0] in norms]


def match_weights(
    model: nn.Module, shapes: Mapping[str, tuple[int, ...]], take: str, num_tags: int, same_tags: bool
) -> list[str]:
    """Which learned weights a parent of these ``shapes`` does not give; they stay as they were drawn.

    ``take`` as in InitConfig; a head for other tags (not ``same_tags``) never matches. Raises ValueError that lists
    what does not match, where ``take`` asks for it.
    """
    if take == "all" and not same_tags:
        raise ValueError("init.take=all takes the parent's head too, which is for other tags; use init.take=new_head")
    wanted = {name: tuple(model.state_dict()[name].shape) for name in learned_names(model)}
    head = "" if same_tags and take != "new_head" else head_name(model, num_tags)
    fresh = [name for name in wanted if head and is_below(name, head)]
    missing = [name for name, shape in wanted.items() if name in fresh or shapes.get(name) != shape]
    if take == "matching":
        if len(missing) == len(wanted):
            raise ValueError("init.take=matching: no weight of the parent matches this model in name and shape")
        return missing
    if differing := [name for name in missing if name not in fresh]:
        shown = [f"{name} {list(wanted[name])} (there {list(shapes.get(name, [])) or 'absent'})" for name in differing]
        raise ValueError(
            f"init.take={take}: {len(differing)} of {len(wanted)} weights do not match the parent's: "
            f"{', '.join(shown[:5])}{', ...' if len(shown) > 5 else ''}; use the parent's model and dials, or "
            "init.take=matching for those that do"
        )
    return fresh


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], dials: Mapping[str, Any]) -> dict[str, Tensor]:
    """A parent's ``weights`` as ``model`` can take them, where it has a method for it: an SSAST's positions.

    ``dials`` are the parent's. Tensors without values (device meta) will do, where only shapes are asked for.
    """
    fit = getattr(model, "fit_weights", None)
    return dict(weights) if fit is None else fit(weights, dials)


@torch.no_grad()
def transfer(model: nn.Module, weights: Mapping[str, Tensor], take: str, num_tags: int, same_tags: bool) -> list[str]:
    """Put a parent's ``weights`` into ``model``; returns the names of those that it did not give (match_weights)."""
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    fresh = match_weights(model, shapes, take, num_tags, same_tags)
    chosen = set(learned_names(model)) - set(fresh)
    own = model.state_dict()
    for name in chosen:
        own[name].copy_(weights[name])
    return fresh
