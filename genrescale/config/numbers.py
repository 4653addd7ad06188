"""Arithmetic of counts."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

Count = TypeVar("Count", int, np.ndarray)


def ceil_div(count: Count, size: int) -> Count:
    """How many parts of ``size`` hold ``count``, the last one perhaps not full: the quotient rounded up."""
    return -(-count // size)
