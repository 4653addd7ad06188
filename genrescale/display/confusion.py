"""The confusion matrix of songs that have one tag each. Shapes: K tags."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from genrescale.display.style import INK, RULE, png_bytes, style
from genrescale.display.text import short_name

MAX_COUNTED = 25  # tags of a matrix with a number in each cell
MAX_LETTERS = 30  # of a tag


def confusion_png(count_KK: np.ndarray, names: Sequence[str], title: str) -> bytes:
    """Draw songs by true tag (rows) and predicted tag (columns): counts, shaded by their share of the row."""
    total_K = count_KK.sum(axis=1)
    share_KK = count_KK / np.maximum(total_K, 1)[:, None]
    num_tags = len(names)
    side = max(3.2, 0.44 * num_tags if num_tags <= MAX_COUNTED else 0.2 * num_tags)
    with style():
        figure = Figure(figsize=(side + 2.6, side + 1.9), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        image = axes.imshow(share_KK, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", pad=10)
        axes.set_xticks(range(num_tags), [short_name(name, MAX_LETTERS) for name in names], rotation=90, fontsize=8.5)
        rows = [f"{short_name(name, MAX_LETTERS)} ({total:,})" for name, total in zip(names, total_K, strict=True)]
        axes.set_yticks(range(num_tags), rows, fontsize=8.5)
        axes.set_xlabel("predicted", fontsize=9)
        axes.set_ylabel("true (songs)", fontsize=9)
        axes.tick_params(length=0)
        if num_tags <= MAX_COUNTED:
            for (row, column), count in np.ndenumerate(count_KK):
                color = "white" if share_KK[row, column] > 0.55 else INK if count else RULE
                axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8, color=color)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, format=lambda x, _: f"{100 * x:.0f} %")
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.set_label("of the row's songs", fontsize=8.5)
        return png_bytes(figure)
