"""Checks of config fields. Each raises ValueError with the field's name and value."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence


def require(ok: bool, message: str) -> None:
    """Raise ValueError with ``message`` unless ``ok``."""
    if not ok:
        raise ValueError(message)


def one_of(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise ValueError unless the field ``name`` holds one of ``allowed``."""
    require(value in allowed, f"{name}={value!r} is none of {list(allowed)}{suggestion(value, allowed)}")


def suggestion(value: object, allowed: Iterable[object]) -> str:
    """Return what ends a sentence about an unknown ``value``: the one of ``allowed`` that looks like it, or ""."""
    alike = difflib.get_close_matches(str(value), map(str, allowed), 1)
    return f"; did you mean {alike[0]}?" if alike else ""


def positive(**values: float) -> None:
    """Raise ValueError unless every field is finite and greater than 0."""
    for name, value in values.items():
        require(math.isfinite(value) and value > 0, f"{name}={value!r} must be greater than 0")


def not_negative(**values: float) -> None:
    """Raise ValueError unless every field is finite and at least 0."""
    for name, value in values.items():
        require(math.isfinite(value) and value >= 0, f"{name}={value!r} must not be negative")
