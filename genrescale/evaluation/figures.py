"""Figures of an evaluation: popularity and precision by tag, the generalisation gap, a t-SNE map.

They are drawn like the report's figures, on Figure objects without global state. Shapes: N songs, D dimensions, K tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from genrescale.display.confusion import MAX_LETTERS
from genrescale.display.style import COLORS, DASHES, MARKERS, MUTED, RULE, finish, png_bytes, short_count, style
from genrescale.display.text import short_name
from genrescale.metrics.by_tag import TagRow
from genrescale.metrics.overfitting import GapCurve, select_step

MAX_TAGS = 60  # rows of a figure by tag
MAX_LINES = 10  # runs in a figure of curves


def popularity_png(rows: Sequence[TagRow], title: str) -> bytes:
    """Draw each tag's share of songs beside its mean predicted probability, and its average precision beside chance.

    Shows the MAX_TAGS most common classify tags, the most common at the top.
    """
    kept = sorted((row for row in rows if row.kind == "classify"), key=lambda row: row.prevalence)[-MAX_TAGS:]
    place = np.arange(len(kept))
    true_K = np.array([row.prevalence for row in kept])
    with style():
        figure = Figure(figsize=(8.6, 1.8 + 0.19 * max(len(kept), 4)), layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2, sharey=True)
        predicted_K = np.array([row.popularity for row in kept])
        left.hlines(place, true_K, predicted_K, color=MUTED, linewidth=1.1)
        _dots(left, true_K, place, 0, "share of songs that have it")
        _dots(left, predicted_K, place, 1, "mean predicted probability")
        right.hlines(place, true_K, [row.pr_auc or np.nan for row in kept], color=RULE, linewidth=1.1)
        right.plot(true_K, place, linestyle="none", marker="|", color=MUTED, markersize=7, label="chance")
        precision_K = np.array([np.nan if row.pr_auc is None else row.pr_auc for row in kept])
        _dots(right, precision_K, place, 2, "average precision")
        right.set_xlim(0, 1)
        left.set_xlim(left=0)
        left.set_yticks(place, [short_name(row.name, MAX_LETTERS) for row in kept], fontsize=8.5)
        left.set_ylim(-0.7, len(kept) - 0.3)
        for axes in (left, right):
            axes.grid(axis="x", color=RULE, linewidth=0.7)
            axes.set_axisbelow(True)
            axes.tick_params(axis="x", length=3, labelsize=9)
            axes.tick_params(axis="y", length=0)
            axes.legend(
                loc="lower left",
                bbox_to_anchor=(-0.03, 1.0),
                ncols=2,
                frameon=False,
                fontsize=8.5,
                labelcolor=MUTED,
                columnspacing=1,
                handletextpad=0.2,
            )
        left.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
        figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
        return png_bytes(figure)


def _dots(axes: Axes, value_K: np.ndarray, place_K: np.ndarray, position: int, label: str) -> None:
    axes.plot(
        value_K,
        place_K,
        linestyle="none",
        marker=MARKERS[position],
        markersize=5,
        markerfacecolor="white" if position == 0 else COLORS[position],
        markeredgecolor=COLORS[position],
        markeredgewidth=1.4,
        label=label,
    )


def gap_png(curves: Mapping[str, GapCurve], labels: Mapping[str, str]) -> bytes:
    """Draw validation minus training loss against steps, one line for each run (the first MAX_LINES).

    A circle marks the lowest validation loss, a diamond the step that the selector ``gap`` chooses.
    """
    with style():
        figure = Figure(figsize=(7.4, 3.6), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        axes.axhline(0, color=MUTED, linewidth=0.9)
        for i, (run_id, curve) in enumerate(list(curves.items())[:MAX_LINES]):
            color, dash = COLORS[i % len(COLORS)], DASHES[(i // len(COLORS)) % len(DASHES)]
            axes.plot(curve.step_V, curve.gap_V, color=color, linestyle=dash, linewidth=1.5, label=labels[run_id])
            for selector, marker in (("val_loss", "o"), ("gap", "D")):
                at = int(np.flatnonzero(curve.step_V == select_step(curve, selector))[0])
                axes.plot(
                    curve.step_V[at],
                    curve.gap_V[at],
                    marker=marker,
                    markersize=7 if selector == "val_loss" else 4.5,
                    markerfacecolor="white" if selector == "val_loss" else color,
                    markeredgecolor=color,
                    linestyle="none",
                )
        axes.plot([], [], marker="o", color=MUTED, markerfacecolor="white", linestyle="none", label="lowest val. loss")
        axes.plot([], [], marker="D", color=MUTED, markersize=4.5, linestyle="none", label="smallest gap near it")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8.5, labelcolor=MUTED)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(short_count))
        finish(axes, "Generalisation gap", "validation - training loss", "training steps")
        return png_bytes(figure)


def embedding_map(embedding_ND: np.ndarray, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """Map embeddings to (N, 2) by t-SNE, initialised with principal components; perplexity is at most (N - 1) / 3.

    Raises ValueError for fewer than four songs, and for values that are not finite.
    """
    from sklearn.manifold import TSNE  # imported here: it takes a second, and most evaluations do not need it

    if embedding_ND.ndim != 2 or len(embedding_ND) < 4 or embedding_ND.shape[1] < 2:
        raise ValueError(f"a map needs embeddings of at least 4 songs and 2 dimensions, got {embedding_ND.shape}")
    if not np.isfinite(embedding_ND).all():
        raise ValueError("the embeddings hold values that are not finite")
    allowed = min(perplexity, (len(embedding_ND) - 1) / 3)
    return TSNE(2, perplexity=allowed, init="pca", random_state=seed).fit_transform(embedding_ND)


def embedding_png(
    embedding_ND: np.ndarray, tag_N: np.ndarray, names: Sequence[str], title: str, seed: int = 0
) -> bytes:
    """Draw the ``embedding_map`` of songs, coloured by tag, with the tag names above their songs.

    ``tag_N`` are indices into ``names``. Source: the GTZAN project's Figure 6. In such a map, distances between
    separate groups and sizes of groups have no meaning.
    """
    if tag_N.shape != (len(embedding_ND),) or tag_N.min() < 0 or tag_N.max() >= len(names):
        raise ValueError(f"tag_N must hold an index into the {len(names)} names for each of {len(embedding_ND)} songs")
    map_N2 = embedding_map(embedding_ND, seed)
    with style():
        figure = Figure(figsize=(6.4, 6.0), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        for tag in (int(tag) for tag in np.unique(tag_N)):
            part_n2 = map_N2[tag_N == tag]
            color = COLORS[tag % len(COLORS)]
            marker = MARKERS[(tag // len(COLORS)) % len(MARKERS)]
            axes.scatter(part_n2[:, 0], part_n2[:, 1], s=14, color=color, marker=marker, alpha=0.55, linewidths=0)
            axes.annotate(
                short_name(names[tag], MAX_LETTERS),
                (float(np.median(part_n2[:, 0])), float(np.quantile(part_n2[:, 1], 0.9))),
                xytext=(0, 5),  # in points, so that the name does not hide the group
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=9,
                fontweight="bold",
                color=color,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
            )
        axes.set_title(title, loc="left", fontsize=11.5, fontweight="bold", pad=10)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal")
        axes.spines[:].set_visible(False)
        return png_bytes(figure)
