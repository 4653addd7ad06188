"""Write tagged songs as text, as JSON lines, or as CSV with a row for every tag of every song."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import IO

import numpy as np
from rich.cells import cell_len, set_cell_size

from genrescale.audio import Vocabulary
from genrescale.display.text import csv_text
from genrescale.storage.store import Store
from genrescale.tagging.scores import SongTags, Untagged
from genrescale.telemetry.progress import Progress
from genrescale.telemetry.terminal import printable, say

FORMATS = ("text", "json", "csv")
CSV_COLUMNS = ("song", "seconds", "windows", "tag", "score")
BAR = 30  # characters for a score of 1


@dataclass(frozen=True)
class Show:
    """Output format, and the tags to show: at most ``top`` a song (0: all), with a score of at least ``threshold``.

    With ``whole``, the model's answer to the whole song at once stands beside each score.
    """

    format: str = "text"
    top: int = 10
    threshold: float = 0.0
    whole: bool = False

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format={self.format!r} is none of {list(FORMATS)}")
        if self.top < 0:
            raise ValueError(f"top={self.top} must not be negative; 0 shows all tags")
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold={self.threshold} must be from 0 to 1, like scores")

    def chosen(self, score_K: np.ndarray) -> list[int]:
        """Return the indices of the tags to show, highest score first."""
        order = np.argsort(-score_K, kind="stable")[: self.top or None]
        return [int(k) for k in order if score_K[k] >= self.threshold]


def write_tags(
    results: Iterable[SongTags | Untagged], num_songs: int, vocabulary: Vocabulary, show: Show, out: Store | None
) -> int:
    """Write each song as it is tagged, to the file ``out`` (which appears at the end) or to the terminal.

    A song that could not be tagged is reported on stderr. Returns the exit status: 1 if there was one, else 0.
    """
    tagged, failed = 0, 0
    with ExitStack() as stack:
        file = stack.enter_context(file_at(out)) if out else None
        progress = stack.enter_context(Progress("tag", num_songs, "songs")) if out else None
        _write(file, head(show))
        for result in results:
            if isinstance(result, Untagged):
                failed += 1
                say(f"tag: {result.song}: {result.reason}", sys.stderr)
            else:
                tagged += 1
                _write(file, lines(result, vocabulary, show))
            if progress:
                progress.advance(note=f"{failed} could not be tagged" if failed else "")
    if out or failed:
        where = f"; {out.uri}" if out else ""
        say(f"{tagged} of {tagged + failed} songs tagged{where}", sys.stderr)
    return 1 if failed else 0


def file_at(out: Store) -> AbstractContextManager[IO[bytes]]:
    """Open a file for writing that appears at the address ``out`` when the block ends."""
    folder, _, name = out.uri.rpartition("/")
    return Store(folder or "/").whole_file(name)


def _write(file: IO[bytes] | None, text: str) -> None:
    if file is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        file.write(text.encode())


def head(show: Show) -> str:
    """Return the text before the first song."""
    return csv_text([(*CSV_COLUMNS, *(["whole_song"] if show.whole else []))]) if show.format == "csv" else ""


def lines(tags: SongTags, vocabulary: Vocabulary, show: Show) -> str:
    """Format one song, with a final newline."""
    shown = list(_shown(tags, vocabulary, show))
    if show.format == "json":
        rows = [
            {"tag": tag, "score": score, **({"whole_song": whole} if show.whole else {})} for tag, score, whole in shown
        ]
        facts = {"song": tags.song, "seconds": round(tags.seconds, 3), "windows": tags.windows, "padded": tags.padded}
        text = json.dumps({**facts, "tags": rows}, ensure_ascii=False)
        # on a terminal, too, no control character acts; JSON escapes only some of them
        return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text) + "\n"
    if show.format == "csv":
        song = (tags.song, round(tags.seconds, 3), tags.windows)
        return csv_text((*song, tag, score, *([whole] if show.whole else [])) for tag, score, whole in shown)
    return _text(tags, shown)


def _shown(tags: SongTags, vocabulary: Vocabulary, show: Show) -> Iterator[tuple[str, float, float | None]]:
    for k in show.chosen(tags.score_K):
        whole = None if tags.whole_K is None else round(float(tags.whole_K[k]), 4)
        yield vocabulary.names[k], round(float(tags.score_K[k]), 4), whole


def _text(tags: SongTags, shown: list[tuple[str, float, float | None]]) -> str:
    windows = "1 window" if tags.windows == 1 else f"mean of {tags.windows} windows"
    rows = [f"{tags.song}  ({tags.seconds:.1f} s, {windows}{', padded with silence' if tags.padded else ''})"]
    width = max((cell_len(tag) for tag, _, _ in shown), default=0)
    if tags.whole_K is not None and shown:
        rows.append(f"  {'':{width}}  {'windows':{BAR + 6}}  whole song")
    for tag, score, whole in shown:
        at_once = "" if whole is None else f"  {whole:.2f}"
        rows.append(f"  {set_cell_size(tag, width)}  {score:.2f}  {bar(score):{BAR}}{at_once}".rstrip())
    if not shown:
        rows.append("  no tag reaches the threshold")
    return "\n".join(map(printable, rows)) + "\n"


def bar(score: float) -> str:
    """Draw a bar of BAR characters for a score of 1, with a resolution of an eighth of a character."""
    eighths = round(score * BAR * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
