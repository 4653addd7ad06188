"""The plot style of all figures: colours, markers, sizes, and SVG export."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genrescale.display.fonts import saved

INK, MUTED, RULE = "#1d1d1b", "#66645e", "#dcd9d0"
# Darkened Okabe-Ito colours (blue, vermilion, ...), which can be distinguished with any colour vision.
COLORS = ("#0b5c8f", "#c4500f", "#3d7a4c", "#7a4a8c", "#8a6d00")


MARKERS = ("o", "s", "^", "D", "v")


DASHES = ("solid", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1, 1, 1)), (0, (8, 2)))


PANEL_INCHES = (4.0, 3.3)


CURVE_INCHES = (5.4, 3.4)


PNG_DPI = 160


_SVG_COLOR = re.compile(rb"((?:fill|stroke): )(#[0-9a-f]{6})")
_DARKEST = 0.91  # white becomes the paper of a dark page


_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,  # a $ in a name is a dollar
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "svg.hashsalt": "genrescale",  # the same rows give the same bytes
    "svg.fonttype": "path",  # no font is needed to show the file
}


def style() -> AbstractContextManager[None]:
    return matplotlib.rc_context(_STYLE)


def short_count(number: float, _: object = None) -> str:
    """``1600`` -> ``1,600``; ``500000`` -> ``500k``."""
    for scale, suffix in ((1_000_000, "M"), (10_000, "k")):
        if number >= scale:
            return f"{number * (1 if suffix == 'M' else 10) / scale:g}{suffix}"
    return f"{number:,g}"


def finish(axes: Axes, title: str, note: str, xlabel: str) -> None:
    """Set titles, grid and ticks, the same for every panel."""
    axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", pad=12)
    axes.set_title(note, loc="right", fontsize=8.5, color=MUTED, pad=12)
    axes.set_xlabel(xlabel, fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=3, labelsize=9)


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file, the same bytes for the same figure."""
    return saved(figure, format="png", dpi=PNG_DPI, metadata={"Software": None})


def svg_bytes(figure: Figure) -> bytes:
    """The figure as an SVG file, the same bytes for the same figure."""
    return saved(figure, format="svg", metadata={"Date": None})


def dark_svg(svg: bytes) -> bytes:
    """The same figure for a dark page: each colour keeps its hue, and light becomes dark."""
    return _SVG_COLOR.sub(lambda found: found[1] + _turned(found[2].decode()).encode(), svg)


def _turned(color: str) -> str:
    hue, light, saturation = colorsys.rgb_to_hls(*to_rgb(color))
    return to_hex(colorsys.hls_to_rgb(hue, 1 - _DARKEST * light, saturation))


def panel_svg(
    draw: Callable[[Axes], None], inches: tuple[float, float], ylim: tuple[float, float] | None = None
) -> bytes:
    """Render one panel as a self-contained SVG file."""
    with style():
        figure = Figure(figsize=inches, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        if ylim:
            axes.set_ylim(*ylim)
        return svg_bytes(figure)
