"""Draw a song's tags over time as a heat map.

Shapes: S seconds, K tags.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from genrescale.audio import Clip
from genrescale.display.pixels import HUES
from genrescale.display.style import INK, MUTED, png_bytes, style
from genrescale.export import Exported
from genrescale.storage.store import Store
from genrescale.tagging.output import Show
from genrescale.tagging.scores import tag_clip, tags_by_second
from genrescale.telemetry.terminal import printable

_ROW_INCHES, _WIDTH_INCHES, _MARGIN_INCHES = 0.27, 8.6, 1.35


def refuse_picture(wanted: str, given: str) -> None:
    """Raise ValueError where a picture is ``wanted`` of what is no single song (``given``; "" if it is one)."""
    if wanted and given:
        raise ValueError(f"picture= is of one song; {given}")


def write_picture(to: Store, exported: Exported, clip: Clip, show: Show) -> None:
    """Draw the tags that ``show`` chooses, by second, as the PNG file ``to``. Raises ValueError if it chooses none."""
    score_K = tag_clip(exported, clip).score_K
    chosen = show.chosen(score_K)
    if not chosen:
        raise ValueError(f"{clip.key}: no tag reaches threshold={show.threshold:g}; the picture would be empty")
    names = [exported.vocabulary.names[k] for k in chosen]
    window_s = min(exported.spec.crop_s, clip.duration_s)
    note = f"{exported.spec.model}; each second is the mean of the {window_s:.3g} s windows that cover it"
    folder, _, name = to.uri.rpartition("/")
    score_SK = tags_by_second(exported, clip.pcm_T)[:, chosen]
    data = draw_tags(score_SK, score_K[chosen], names, clip.duration_s, printable(clip.key.rpartition("/")[2]), note)
    Store(folder or "/").write_bytes(name, data)


def draw_tags(
    score_SK: np.ndarray, score_K: np.ndarray, names: list[str], seconds: float, title: str, note: str
) -> bytes:
    """Draw a row for every column of ``score_SK``, the first on top, with the song's score beside it, as PNG."""
    score_KS = score_SK.T
    with style():
        figure = Figure(figsize=(_WIDTH_INCHES, _MARGIN_INCHES + _ROW_INCHES * len(names)), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(
            score_KS,
            aspect="auto",
            interpolation="nearest",
            cmap=HUES,
            vmin=0,
            vmax=1,
            # the last second may be incomplete
            extent=(0, len(score_SK), len(names) - 0.5, -0.5),
        )
        axes.set_xlim(0, seconds)
        axes.set_yticks(range(len(names)), names, color=INK)
        for row, score in enumerate(score_K):
            axes.annotate(
                f"{score:.2f}", (1, row), (5, 0), ("axes fraction", "data"), "offset points", va="center", color=MUTED,
                fontsize=9, annotation_clip=False,
            )  # fmt: skip
        axes.tick_params(length=0, axis="y")
        for row in range(1, len(names)):
            axes.axhline(row - 0.5, color="white", linewidth=1.2)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 1.5, 2, 3, 6, 10], integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{int(t) // 60}:{int(t) % 60:02d}"))
        axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", pad=22)
        axes.annotate(note, (0, 1), (0, 8), "axes fraction", "offset points", fontsize=8.5, color=MUTED)
        axes.annotate("song", (1, 1), (5, 8), "axes fraction", "offset points", fontsize=8.5, color=MUTED)
        colorbar = figure.colorbar(image, ax=axes, pad=0.09, fraction=0.03, aspect=12)
        colorbar.outline.set_visible(False)  # type: ignore[attr-defined]
        colorbar.ax.tick_params(length=0, labelsize=8.5)
        return png_bytes(figure)
