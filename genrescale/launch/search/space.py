"""The searched fields of a run: what a name means for a family, and the run with sampled values."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from genrescale.config import ModelConfig, RunConfig
from genrescale.config.losses import full_loss_dials
from genrescale.config.search import Distribution
from genrescale.models import full_dials

Values = Mapping[str, float]
"""Sampled values by the field's dotted name in a run, e.g. ``{"optim.lr": 0.003}``."""

_SEARCHED = ("data", "optim", "augment")
_FIXED = {
    "data.size": "sizes=[...] or search.sizes=[...] say at how many songs runs are trained",
    "seed": "seeds=[...] repeat a run, and no seed is better than another",
    "data.val_songs": "trials that validate on different songs cannot be compared",
    "optim.max_steps": "trials are compared at the same steps",
    "optim.validate_every": "trials are compared at the same steps",
}
_DIALS, _LOSS = "model.dials.", "loss_dials."


@dataclass(frozen=True)
class Space:
    """The distributions of one family's searched fields, by the field's dotted name in a run."""

    distributions: Mapping[str, Distribution]

    def holds(self, values: Values) -> bool:
        """Whether the space may give these values, all of them."""
        known = self.distributions
        return values.keys() == known.keys() and all(known[name].holds(value) for name, value in values.items())


def family_space(base: RunConfig, named: Mapping[str, Distribution]) -> Space:
    """The space of a family whose run is ``base``: of the given names, those that its model has.

    Raises ValueError for a name that fits several fields, and for a distribution that does not fit its field.
    """
    known = numeric_fields(base)
    found: dict[str, Distribution] = {}
    for name, distribution in named.items():
        if (full := _full_name(name, known)) is None:
            continue
        _check_whole(name, full, distribution, known[full])
        found[full] = distribution
    return Space(found)


def check_names(bases: Mapping[str, RunConfig], named: Mapping[str, Distribution]) -> None:
    """Raise ValueError for a name that no family has, or one that cannot be searched."""
    known = {family: numeric_fields(base) for family, base in bases.items()}
    for name in named:
        for fixed, why in _FIXED.items():
            if name in (fixed, fixed.rpartition(".")[2]):
                raise ValueError(f"search.space.{name} cannot be searched: {why}")
        if not any(_full_name(name, names) for names in known.values()):
            every = sorted({field for names in known.values() for field in names})
            ends = {field.rpartition(".")[2]: field for field in every}
            near = difflib.get_close_matches(name.rpartition(".")[2], list(ends), n=2)
            meant = f"; did you mean {' or '.join(ends[end] for end in near)}?" if near else ""
            raise ValueError(f"search.space.{name} is no number of a run of {', '.join(bases)}{meant}")


def numeric_fields(base: RunConfig) -> dict[str, float]:
    """The numbers of a run that may be searched, by dotted name, with their values in ``base``."""
    found: dict[str, float] = {}
    for group in _SEARCHED:
        found |= {f"{group}.{name}": value for name, value in _numbers(getattr(base, group)).items()}
    found |= {
        f"{_DIALS}{name}": value for name, value in _numbers(full_dials(base.model.name, base.model.dials)).items()
    }
    found |= {f"{_LOSS}{name}": v for name, v in _numbers(full_loss_dials(base.loss, base.loss_dials)).items()}
    return {name: value for name, value in found.items() if name not in _FIXED}


def _numbers(group: Any) -> dict[str, float]:
    values = {f.name: getattr(group, f.name) for f in fields(group)} if is_dataclass(group) else dict(group)
    return {name: value for name, value in values.items() if type(value) in (int, float)}


def _full_name(name: str, known: Mapping[str, float]) -> str | None:
    """The field that a name or its end means; None if there is none. Raises ValueError if it fits several."""
    if name.startswith("model.") and not name.startswith(_DIALS):
        name = name.replace("model.", _DIALS, 1)
    fitting = [full for full in known if full == name or full.endswith(f".{name}")]
    if len(fitting) > 1:
        raise ValueError(f"search.space.{name} fits {' and '.join(fitting)}; write one of them")
    return fitting[0] if fitting else None


def _check_whole(name: str, full: str, distribution: Distribution, value: float) -> None:
    whole = isinstance(value, int)
    fits = distribution.kind == "int" or (
        distribution.kind == "choice" and all(isinstance(choice, int) for choice in distribution.values)
    )
    if whole and not fits:
        raise ValueError(
            f"search.space.{name}={distribution}: {full} is a whole number; use int(low,high) or a choice of such"
        )


def run_with(base: RunConfig, values: Values) -> RunConfig:
    """The run with these values. Raises ValueError, as any run does, for values that do not go together."""
    groups: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        group, _, field = name.rpartition(".")
        groups.setdefault(group, {})[field] = value
    changed: dict[str, Any] = {}
    for group, new in groups.items():
        if f"{group}." == _DIALS:
            changed["model"] = ModelConfig(base.model.name, {**base.model.dials, **new})
        elif f"{group}." == _LOSS:
            changed["loss_dials"] = {**base.loss_dials, **new}
        else:
            changed[group] = replace(getattr(base, group), **new)
    return replace(base, **changed)


def typed_values(base: RunConfig, values: Values) -> dict[str, float]:
    """The values as the fields have them: whole numbers, or floating-point ones, so that equal runs have one id."""
    known = numeric_fields(base)
    return {name: int(v) if isinstance(known[name], int) else float(v) for name, v in values.items()}
