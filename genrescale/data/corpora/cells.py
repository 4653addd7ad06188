"""Cells of a corpus's tables: texts, names of tags and artists, official splits, lengths, and the vocabulary of all."""

from __future__ import annotations

import ast
import math
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from genrescale.audio import Tag, Vocabulary
from genrescale.telemetry.terminal import JOINERS

SEPARATOR = "|"
SPLIT_NAMES = {
    **{"train": "train", "training": "train", "test": "test"},
    **{"validation": "validation", "valid": "validation", "val": "validation"},
}
_MAX_LIST = 10_000  # characters of a list that was written as text: parsed, it takes a hundred times as many bytes


def texts(cells: Sequence[Any]) -> list[str]:
    """Convert cells to text: a missing value (None, NaN) to "", the whole number 3.0 to "3", a list to its parts."""
    return [_text_of(cell) for cell in cells]


def _text_of(cell: Any) -> str:
    if cell is None or cell != cell:  # NaN, which pandas writes for a missing cell
        return ""
    if isinstance(cell, (list, tuple)):
        return ", ".join(filter(None, map(_text_of, cell)))
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


@lru_cache(maxsize=1 << 16)
def one_form(name: str) -> str:
    """Return a name in one form, in which names that look the same are the same.

    Unicode has several forms of one letter, spaces of several kinds, and characters of no width.
    """
    composed = unicodedata.normalize("NFC", name)
    visible = "".join(c for c in composed if unicodedata.category(c) != "Cf" or c in JOINERS)
    return " ".join(visible.split())


def tag_names(cell: Any, separator: str = SEPARATOR) -> list[str]:
    """Parse the tags of one cell, which is ``rock|live``, a list, a number or empty; each tag once, in order."""
    if cell is None:
        return []
    if isinstance(cell, str):
        names = _written_list(cell) or cell.split(separator)
    else:
        names = cell if isinstance(cell, (list, tuple)) else [cell]
    # name != name: NaN, which pandas writes for a missing cell in a column of numbers
    if any(name is None or name != name or isinstance(name, (Mapping, list, tuple, bytes)) for name in names):
        raise ValueError(f"{cell!r} is neither a name nor a list of names")
    # interned, so that songs share one string for each tag
    return list(dict.fromkeys(sys.intern(formed) for name in names if (formed := one_form(str(name)))))


def _written_list(cell: str) -> list[Any]:
    """Return the items of a list that was written as text, such as ``['rock', 'pop']``; [] for any other text."""
    if len(cell) > _MAX_LIST or not (cell.startswith("[") and cell.endswith("]")):
        return []
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return []
    return found if isinstance(found, list) else []


def look_alikes(names: Iterable[str]) -> list[str]:
    """Describe the names that differ by upper and lower case or by spaces and dashes alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"[\s_-]+", "", name.casefold()), []).append(name)
    return [", ".join(map(repr, sorted(group))) for group in groups.values() if len(group) > 1]


def official_split(cell: str, where: str) -> str | None:
    """Parse a split name; "" gives None. Raises ValueError for an unknown name."""
    if cell and cell not in SPLIT_NAMES:
        raise ValueError(f"{where}: split {cell!r} is none of {list(SPLIT_NAMES)}")
    return SPLIT_NAMES[cell] if cell else None


def seconds_of(cell: str, where: str) -> float:
    """Parse a length in seconds; "" gives 0, which means unknown. Raises ValueError for anything else."""
    try:
        seconds = float(cell or 0)
    except ValueError:
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise ValueError(f"{where}: {cell!r} is not a length in seconds")
    return seconds


def most_frequent(labels: Sequence[Sequence[str]], top: int) -> list[str]:
    """Return the ``top`` tags with the most songs (0: all), most frequent first, ties by name."""
    counts = Counter(tag for tags in labels for tag in tags)
    ranked = sorted(counts, key=lambda tag: (-counts[tag], tag))
    return ranked[:top] if top else ranked


def carried(tags: Sequence[str], vocabulary: Collection[str] | None = None) -> dict[str, float]:
    """Return the labels of a song with these tags, limited to the vocabulary."""
    return {tag: 1.0 for tag in tags if vocabulary is None or tag in vocabulary}


def vocabulary_of(labels: Sequence[Collection[str]], where: str) -> Vocabulary:
    """Make a vocabulary of all songs' tags, sorted; it is exclusive if every song has exactly one."""
    names = sorted({name for tags in labels for name in tags})
    if not names:
        raise ValueError(f"{where} has no label in any row")
    return Vocabulary(tuple(Tag(name) for name in names), exclusive=all(len(set(tags)) == 1 for tags in labels))


def one_of(option: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ValueError(f"option {option}={value!r} is none of {list(allowed)}")
    return value
