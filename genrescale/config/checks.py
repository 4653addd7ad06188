"""Checks of config fields. Each raises ValueError with the field's name and value."""

from __future__ import annotations

import math
from collections.abc import Sequence


def require(ok: bool, message: str) -> None:
    """Raise ValueError with ``message`` unless ``ok``."""
    if not ok:
        raise ValueError(message)


def one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise ValueError unless the field ``name`` holds one of ``allowed``."""
    require(value in allowed, f"{name}={value!r} is none of {list(allowed)}")


def positive(**values: float) -> None:
    """Raise ValueError unless every field is finite and greater than 0."""
    for name, value in values.items():
        require(math.isfinite(value) and value > 0, f"{name}={value!r} must be greater than 0")


def not_negative(**values: float) -> None:
    """Raise ValueError unless every field is finite and at least 0."""
    for name, value in values.items():
        require(math.isfinite(value) and value >= 0, f"{name}={value!r} must not be negative")
