"""Numbers as text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from genrescale.telemetry.terminal import printable

# as OWASP lists them, with the wide forms that Excel takes for the same
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", *"\uff1d\uff0b\uff0d\uff20")


def count_text(number: float, noun: str) -> str:
    """Format a count with its noun: ``1200, "song"`` -> ``1,200 songs``."""
    return f"{number:,.0f} {noun}" + ("" if number == 1 else "s")


def song_text(number: float) -> str:
    """Format a fitted number of songs to three digits, because a fit is not more precise."""
    digits = max(0, math.floor(math.log10(number)) - 2) if number > 0 else 0
    return f"{round(number, -digits):,.0f} songs"


def short_name(name: str, letters: int) -> str:
    """A name of at most ``letters`` letters; a longer one ends in an ellipsis."""
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Format rows as lines of CSV; None is an empty cell.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, which spreadsheets read as "text".
    Control characters are escaped.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[_safe_cell(cell) for cell in row] for row in rows])
    return text.getvalue()


def _safe_cell(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    return f"'{printable(cell)}" if cell.startswith(_FORMULA) else printable(cell)


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A CSV file with its header, in UTF-8."""
    return (csv_text([header]) + csv_text(rows)).encode()
