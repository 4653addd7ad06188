"""Figures of a corpus's page: histograms by split, co-occurrence of tags. No global state.

Shapes: C tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from genrescale.display.style import COLORS, CURVE_INCHES, DASHES, MUTED, finish, panel_svg, style, svg_bytes
from genrescale.display.text import short_name

MAX_MATRIX_TAGS = 60
_MAX_BINS = 40


def histogram_svg(values: Mapping[str, np.ndarray], title: str, unit: str) -> bytes:
    """Draw one line per split: the share of its songs (%) in each bin, from the 0.1 to the 99.9 percentile."""
    return panel_svg(partial(_draw_histogram, values=values, title=title, unit=unit), CURVE_INCHES)


def _draw_histogram(axes: Axes, values: Mapping[str, np.ndarray], title: str, unit: str) -> None:
    every = np.concatenate([np.empty(0), *values.values()])
    if len(every):
        low, high = np.quantile(every, [0.001, 0.999])
        if high - low < 1e-6:  # all values are equal: one bar with space around it
            low, high = low - 0.5, high + 0.5
        # with few songs, many bins would show noise as structure
        bins = int(np.clip(np.sqrt(min(len(of_split) for of_split in values.values() if len(of_split))), 8, _MAX_BINS))
        edges = np.linspace(low, high, bins + 1)
        for i, (split, of_split) in enumerate(values.items()):
            if not len(of_split):
                continue
            counts, _ = np.histogram(np.clip(of_split, low, high), edges)
            share = 100 * counts / len(of_split)
            axes.stairs(share, edges, color=COLORS[i], linestyle=DASHES[i], linewidth=1.4, label=split)
            axes.stairs(share, edges, color=COLORS[i], fill=True, alpha=0.08)
        axes.legend(frameon=False, fontsize=8.5, labelcolor=MUTED)
    finish(axes, title, "% of the split's songs", unit)
    axes.set_ylim(bottom=0)


def cluster_order(count_CC: np.ndarray) -> np.ndarray:
    """Order tags so that tags that occur together are neighbours (average linkage on Jaccard distances)."""
    if len(count_CC) < 3:
        return np.arange(len(count_CC))
    total = np.diag(count_CC).astype(float)
    distance = 1 - count_CC / (total[:, None] + total[None, :] - count_CC)
    np.fill_diagonal(distance, 0.0)
    return leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=True))


def co_occurrence_svg(names: Sequence[str], count_CC: np.ndarray) -> bytes:
    """Draw the share of the songs with the row's tag that have the column's: the most common tags, clustered.

    Shows at most MAX_MATRIX_TAGS tags.
    """
    kept: list[int] = sorted(np.argsort(-np.diag(count_CC), kind="stable")[:MAX_MATRIX_TAGS].tolist())
    count_CC = count_CC[np.ix_(kept, kept)]
    order: list[int] = cluster_order(count_CC).tolist()
    count_CC = count_CC[np.ix_(order, order)]
    share_CC = count_CC / np.diag(count_CC)[:, None]
    share_CC[np.diag_indices(len(share_CC))] = np.nan
    shown = [short_name(names[kept[i]], 22) for i in order]
    side = 2.6 + 0.19 * len(shown)
    with style():
        figure = Figure(figsize=(side + 0.9, side), layout="constrained")
        axes = figure.add_subplot()
        largest = float(np.nanmax(share_CC)) if len(shown) > 1 else 1.0
        image = axes.imshow(share_CC, cmap="Blues", vmin=0, vmax=max(largest, 1e-9), interpolation="nearest")
        axes.set_facecolor("#e9e6dd")  # the diagonal, which is 1 by definition
        axes.set_xticks(range(len(shown)), shown, rotation=90, fontsize=8)
        axes.set_yticks(range(len(shown)), shown, fontsize=8)
        axes.set_xlabel("also has", fontsize=9)
        axes.set_ylabel("songs with", fontsize=9)
        axes.tick_params(length=0)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, format=lambda x, _: f"{100 * x:.0f} %")
        bar.outline.set_visible(False)  # type: ignore[operator]
        return svg_bytes(figure)
