"""Numbers as text."""

from __future__ import annotations

import math


def count_text(number: float, noun: str) -> str:
    """Format a count with its noun: ``1200, "song"`` -> ``1,200 songs``."""
    return f"{number:,.0f} {noun}" + ("" if number == 1 else "s")


def song_text(number: float) -> str:
    """Format a fitted number of songs to three digits, because a fit is not more precise."""
    digits = max(0, math.floor(math.log10(number)) - 2) if number > 0 else 0
    return f"{round(number, -digits):,.0f} songs"
