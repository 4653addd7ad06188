"""The page of a tagged song: the player, tags over time under a playhead, and the log-mel. One file, offline.

Shapes: T samples, F mel bins, N frames, S seconds, K tags.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from genrescale.audio import seconds_to_len
from genrescale.display.html import data_uri, render_template, resource
from genrescale.display.pixels import DARK_HUES, heat_png, log_mel_png, narrowed
from genrescale.display.text import count_text
from genrescale.export import Exported
from genrescale.models.parts.log_mels import log_mels
from genrescale.tagging.files import Heard
from genrescale.tagging.output import Show
from genrescale.tagging.player import sound_of
from genrescale.tagging.scores import SongTags, Untagged, tags_by_second
from genrescale.telemetry.terminal import printable

_PACKAGE = "genrescale.tagging"
_MEL_COLUMNS = 2400
_PIECE_S = 60.0  # a log-mel of two hours at once would take 2 GB
_TICKS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)
_MOST_TICKS, _MOST_PARTS = 5, 6


@dataclass(frozen=True)
class Listed:
    """A line of the index: a song, the page's address as seen from the index, and its likeliest tags."""

    song: str
    href: str
    seconds: float
    tags: list[tuple[str, float]]


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a song, in seconds, and the mean scores of its seconds."""

    start_s: int
    end_s: int
    score_K: np.ndarray


def parts_of(score_KS: np.ndarray) -> list[Part]:
    """Divide a song into at most _MOST_PARTS parts of whole seconds, about equally long."""
    seconds = score_KS.shape[1]
    edges = np.unique(np.linspace(0, seconds, min(_MOST_PARTS, seconds) + 1).round().astype(int)).tolist()
    return [Part(start, end, score_KS[:, start:end].mean(axis=1)) for start, end in itertools.pairwise(edges)]


def clock(seconds: float) -> str:
    """Format a position: ``75.9`` -> ``1:15``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def likeliest(exported: Exported, tags: SongTags, show: Show) -> list[tuple[str, float]]:
    """The tags of a song that ``show`` chooses, with their scores."""
    return [(exported.vocabulary.names[k], float(tags.score_K[k])) for k in show.chosen(tags.score_K)]


def render_song(exported: Exported, heard: Heard, show: Show, page: Path | None, index: str = "") -> str:
    """Render the page of one song as text.

    ``page`` is the folder of the page where that is on this machine; ``index`` is the address of the index from there.
    """
    clip, tags = heard.clip, heard.tags
    chosen = show.chosen(tags.score_K)
    by_second_KS = tags_by_second(exported, clip.pcm_T).T[chosen] if chosen else np.zeros((0, 1))
    step_s = next((step for step in _TICKS_S if clip.duration_s / step <= _MOST_TICKS), _TICKS_S[-1])
    script = resource(_PACKAGE, "page.js")
    return render_template(
        _PACKAGE,
        {"count": count_text, "clock": clock},
        song=printable(tags.song),
        title=printable(tags.song.rpartition("/")[2]),
        tags=likeliest(exported, tags, show),
        facts=tags,
        model=exported.spec.model,
        threshold=show.threshold,
        window_s=min(exported.spec.crop_s, clip.duration_s),
        sound=sound_of(heard.source, clip, page),
        heat=data_uri(heat_png(by_second_KS), "image/png") if chosen else "",
        dark_heat=data_uri(heat_png(by_second_KS, DARK_HUES), "image/png") if chosen else "",
        # the last second may be incomplete: its column ends beyond the song
        stretch=100 * by_second_KS.shape[1] / clip.duration_s if chosen else 100,
        parts=parts_of(by_second_KS),
        mel=data_uri(_mel_png(clip.pcm_T), "image/png"),
        ticks=[(second, 100 * second / clip.duration_s) for second in range(0, int(clip.duration_s) + 1, step_s)],
        scores=json.dumps(np.rint(100 * by_second_KS.T).astype(int).tolist(), separators=(",", ":")),
        index=index,
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def render_index(model: str, listed: Sequence[Listed], untagged: Iterable[Untagged]) -> str:
    """Render the index of several songs' pages as text."""
    return render_template(
        _PACKAGE,
        {"count": count_text, "clock": clock},
        "index.html.jinja",
        model=model,
        songs=listed,
        untagged=[(printable(song.song), printable(song.reason)) for song in untagged],
    )


def _mel_png(pcm_T: np.ndarray) -> bytes:
    """The log-mel of a whole song, at most about _MEL_COLUMNS columns wide, with its own brightness scale."""
    piece_len = seconds_to_len(_PIECE_S)
    pieces = []
    for start in range(0, len(pcm_T), piece_len):
        piece_T = pcm_T[start : start + piece_len]
        columns = max(1, round(_MEL_COLUMNS * len(piece_T) / len(pcm_T)))
        pieces.append(narrowed(log_mels([piece_T])[0], columns))
    mel_FN = np.concatenate(pieces, axis=1)
    low, high = np.quantile(mel_FN, [0.01, 0.998]).tolist()
    return log_mel_png(mel_FN, low, high)
