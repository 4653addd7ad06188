"""Text from outside (names, labels, reasons) for a terminal."""

from __future__ import annotations

_JOINERS = "\u200c\u200d"  # invisible, but part of words in Persian and Hindi, and of emoji


def printable(text: str) -> str:
    """``text`` on one line, with its control characters and other invisible ones as escapes (``\\x1b``)."""
    return "".join(c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode() for c in text)
