"""The axis of compute: each family's model at several widths, with as many steps as a budget of operations allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from genrescale.audio import seconds_to_len
from genrescale.config import ModelConfig, OptimConfig, RunConfig
from genrescale.config.sweep import ComputeConfig
from genrescale.models import build_model, full_dials
from genrescale.training.flops import clip_flops

AXIS = "compute"
WIDTH_DIALS = ("frontend_width", "backend_filters", "backend_units", "width")
"""Dials that a width multiplies, in models that have them."""
VALIDATIONS = 8  # of a run
MIN_STEPS = 8

Cell = tuple[str, RunConfig, dict[str, float]]


def compute_cells(
    compute: ComputeConfig, families: list[str], base: Callable[[str], RunConfig], num_tags: int
) -> list[Cell]:
    """The runs of the axis: (axis, run, its width, budget and cost of a clip). ``base`` is a family's run of the grid.

    Raises ValueError for a model that has no widths or whose operations cannot be counted, for a width that leaves no
    whole filters, and for a budget of too few steps.
    """
    cells: list[Cell] = []
    for family in families if compute.widths else ():
        run = base(family)
        for width in sorted(compute.widths):
            wide = replace(run, model=_widened(run.model, width))
            model = build_model(family, num_tags, **wide.model.dials)
            if (flops := clip_flops(model, seconds_to_len(run.data.crop_s))) == 0:
                raise ValueError(
                    f"compute.widths: the operations of {family} cannot be counted; leave it out of families"
                )
            for budget in sorted(compute.budgets):
                place = {"width": width, "budget": budget, "clip_flops": flops}
                cells.append((AXIS, _trained_for(wide, budget / flops), place))
    return cells


def _widened(model: ModelConfig, width: float) -> ModelConfig:
    dials = full_dials(model.name, model.dials)
    named = [name for name in WIDTH_DIALS if name in dials]
    if not named:
        raise ValueError(f"compute.widths: {model.name} has none of the dials {', '.join(WIDTH_DIALS)}")
    return ModelConfig(model.name, {**model.dials, **{name: _times(dials[name], width) for name in named}})


def _times(value: Any, width: float) -> Any:
    return max(1, round(value * width)) if isinstance(value, int) else value * width


def _trained_for(run: RunConfig, clips: float) -> RunConfig:
    """The run with as many steps as see ``clips``, validated VALIDATIONS times, and not stopped before."""
    steps = round(clips / run.data.batch)
    if steps < MIN_STEPS:
        raise ValueError(
            f"compute.budgets: the smallest budget allows {run.model.name} with {run.model.dials} {steps} steps; "
            f"{MIN_STEPS} are needed: give a larger budget or smaller widths"
        )
    every = max(1, steps // VALIDATIONS)
    optim: OptimConfig = replace(run.optim, max_steps=steps, validate_every=every, patience_steps=0)
    if optim.schedule == "plateau":
        optim = replace(optim, plateau_steps=2 * every)
    return replace(run, optim=optim)
