"""Songs that look like parts of one recording or album, by their files' names, and are in several splits.

Clips of one recording share its sound, its artist and its labels: tested on one, a model that was trained on another
remembers. Groups (a column of the corpus's table) and artists keep them together; these are hints where both are not
given.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from genrescale.audio import Song
from genrescale.data.sharding.plan import HELD_OUT, ShardPlan

_PART = re.compile(
    r"(?P<title>.*\w)(?:[\s_.,-]+|[\s_]*[(\[])(?:clip|part|pt|seg|segment|chunk|excerpt|take)?[\s_.-]*\d+[)\]]?"
)
_MIN_GROUPS = 3
_MOST_PARTS = 100  # of a recording or album; more songs have a folder or a number for another reason
_REMEDY = (
    "If they belong together, name them in a column of the corpus's table (columns.group=...; artists do as well), "
    "which is never divided"
)


def related_lines(plan: ShardPlan) -> list[str]:
    """Say how many groups are divided between official splits, or else how many tracks and folders seem to be."""
    if divided := plan.divided_groups:
        return [f"{len(divided):,} groups are in more than one of the official splits, the first is {divided[0]!r}"]
    if any(song.group for song in plan.songs):
        return []
    tracks = [_track(song) for song in plan.songs]
    titles = Counter(folder for folder, _ in set(tracks))
    # a folder with one title, such as song_1 to song_50, says nothing
    names = ["/".join(track) if titles[track[0]] > 1 and track[1] else "" for track in tracks]
    return [
        *_divided(plan, names, "tracks with several clips, by their files' names"),
        *_divided(plan, [_folder(song) for song in plan.songs], "folders of a few songs each"),
    ]


def _divided(plan: ShardPlan, names: Sequence[str], what: str) -> Iterator[str]:
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        if name and plan.split[row] != HELD_OUT:
            rows_of.setdefault(name, []).append(row)
    together = {name: rows for name, rows in rows_of.items() if 1 < len(rows) <= _MOST_PARTS}
    divided = [rows for rows in together.values() if len({plan.split[row] for row in rows}) > 1]
    if len(together) < _MIN_GROUPS or 2 * len(together) < len(rows_of) or not divided:
        return
    first = min(divided, key=lambda rows: plan.songs[rows[0]].path)
    example = " and ".join(f"{plan.songs[row].path} ({plan.split[row]})" for row in _apart(plan, first))
    yield f"{len(divided):,} of {len(together):,} {what}, are in more than one split, such as {example}. {_REMEDY}"


def _apart(plan: ShardPlan, rows: Sequence[int]) -> tuple[int, int]:
    """Two of some rows that are in different splits."""
    return rows[0], next(row for row in rows if plan.split[row] != plan.split[rows[0]])


def _track(song: Song) -> tuple[str, str]:
    """The folder of a song, and its title if it is numbered as a part, such as ``title_01.wav``, or ""."""
    path = PurePosixPath(song.path)
    found = _PART.fullmatch(path.stem)
    return str(path.parent), found["title"].casefold() if found else ""


def _folder(song: Song) -> str:
    """The folder of a song without an artist, or "" where that is its label."""
    folder = PurePosixPath(song.path).parent
    return "" if song.artist or folder.name in song.labels else str(folder)
