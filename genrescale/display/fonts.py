"""Draw a figure in fonts that have its characters: names come in every script, and the plot style's font has few."""

from __future__ import annotations

import io
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from genrescale.telemetry.terminal import say

_MISSING = re.compile(r"Glyph (\d+) ")  # matplotlib's warning, one for each character
_BOXES = "Last Resort"  # has a box for every character
_LOOKED_AT: set[int] = set()  # characters that this process has looked for in vain, and said so
_SHOWN = 3


def saved(figure: Figure, **options: Any) -> bytes:
    """The figure as a file, in further fonts of this machine if its own lack characters.

    What no font has is said on stderr, once in a process.
    """
    data, missing = _draw(figure, options)
    if missing - _LOOKED_AT and (families := _families_with(missing)):
        # a list: for each character the first font that has it
        families = [*matplotlib.rcParams["font.family"], *families]
        with matplotlib.rc_context({"font.family": families}):
            for text in figure.findobj(Text):
                text.set_fontfamily(families)
            data, missing = _draw(figure, options)
    if new := missing - _LOOKED_AT:
        _LOOKED_AT.update(new)
        say(f"[picture] {_note(sorted(new))}", sys.stderr)
    return data


def _note(missing: list[int]) -> str:
    first = " ".join(map(chr, missing[:_SHOWN]))
    more = f" and {len(missing) - _SHOWN} more characters" if len(missing) > _SHOWN else ""
    return f"no font of this machine has {first}{more}: they are boxes; install one that has, such as Noto Sans CJK"


def _draw(figure: Figure, options: dict[str, Any]) -> tuple[bytes, set[int]]:
    """Draw the figure; return the file and the characters that its fonts lack."""
    sink, missing = io.BytesIO(), set()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        figure.savefig(sink, **options)
    for warning in warned:
        if found := _MISSING.match(str(warning.message)):
            missing.add(int(found[1]))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return sink.getvalue(), missing


def _families_with(missing: set[int]) -> list[str]:
    """Families of fonts that have the missing characters, as few as it takes of those that have the most."""
    has = {name: characters for name, characters in _characters(missing) if characters}
    families, left = [], set(missing)
    while left and has:
        best = max(sorted(has), key=lambda name: len(has[name] & left))
        if not has[best] & left:
            break
        families.append(best)
        left -= has[best]
    return families


def _characters(wanted: set[int]) -> Iterator[tuple[str, set[int]]]:
    """The name of every upright font of regular weight on this machine, and which of the characters it has."""
    manager = font_manager.fontManager
    known = {entry.fname for entry in manager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:  # matplotlib remembers its list, but not for ever
        try:
            manager.addfont(path)
        except Exception:  # the file is no font that matplotlib reads
            continue
    for entry in manager.ttflist:
        if entry.style == "normal" and _BOXES not in entry.name:
            font = FT2Font(entry.fname)
            yield entry.name, {character for character in wanted if font.get_char_index(character)}
