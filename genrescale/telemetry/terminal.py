"""Text for a terminal. It may hold names, labels and reasons from outside, so control characters are escaped.

A control character in a file name could otherwise recolour, overwrite or rename what a terminal shows.
"""

from __future__ import annotations

import sys
from typing import TextIO

JOINERS = "\u200c\u200d"  # invisible, but part of words in Persian and Hindi, and of emoji


def printable(text: str) -> str:
    """Return ``text`` on one line, with control characters and other invisible ones as escapes (``\\x1b``)."""
    return "".join(c if c.isprintable() or c in JOINERS else c.encode("unicode_escape").decode() for c in text)


def utf8_text(text: str) -> str:
    """Return ``text`` with what UTF-8 cannot write as escapes: bytes of file names that are no UTF-8 (``\\udce9``)."""
    return text.encode(errors="backslashreplace").decode()


def say(text: str, stream: TextIO | None = None) -> None:
    """Print lines of text to ``stream`` (default: stdout), each made ``printable``. Every job prints with this."""
    print("\n".join(map(printable, text.split("\n"))), file=stream or sys.stdout, flush=True)
