"""A table of songs as a corpus: a CSV, TSV, JSON-lines (``.jsonl``) or Parquet file with one row per song.

Columns (other names by ``columns={"labels": "genre"}``; further columns are passed over):

=================  ===============================================================================================
``path``           the encoded file, relative to the table's folder, absolute, or a URI
``labels``         tag names: ``rock|guitar`` in one cell, or a list (Parquet, JSON); may be empty
``artist``         optional; empty: unknown
``split``          optional; ``train``, ``validation`` (``valid``, ``val``) or ``test``; empty: none
``regress:NAME``   optional, any number: a number in [0, 1], the value of the regression tag NAME
=================  ===============================================================================================

The vocabulary is exclusive where every song has exactly one label and there is no regression tag.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from genrescale.audio import Song, Tag, Vocabulary, song_key
from genrescale.data.corpora.reading import (
    Columns,
    column,
    official_split,
    read_columns,
    resolve,
    root_of,
    split_address,
    tag_names,
    texts,
    vocabulary_of,
)

REQUIRED = ("path", "labels")
REGRESS = "regress:"


@dataclass
class TableColumns:
    """What a table calls its columns."""

    path: str = "path"
    labels: str = "labels"
    artist: str = "artist"
    split: str = "split"

    def renamed(self) -> dict[str, str]:
        """The ``columns`` of ``list_songs``: a column that is named must be there, also an optional one."""
        return {name: column for name, column in asdict(self).items() if column != name}


_COLUMNS = tuple(column.name for column in fields(TableColumns))


def list_songs(audio: str, columns: Mapping[str, str] | None = None) -> tuple[list[Song], Vocabulary]:
    """The songs of the table ``audio``, in its order.

    Raises FileNotFoundError where there is no table, ValueError for a missing column (naming it and those found) and
    for a cell that cannot be used (naming its row; the first row is row 1).
    """
    store, name = split_address(audio)
    table = read_columns(store, name)
    cells = _name_columns(table, columns or {}, audio)
    regress = {key.removeprefix(REGRESS): table[key] for key in table if key.startswith(REGRESS)}
    root, songs, labels = root_of(store), [], []
    for i, path in enumerate(cells["path"]):
        where = f"{audio}, row {i + 1}"
        if not path:
            raise ValueError(f"{where}: the path is empty")
        if not isinstance(path, str):
            raise ValueError(f"{where}: the path {path!r} is not text")
        labels.append(_tags(cells["labels"][i], where))
        values = dict.fromkeys(labels[i], 1.0)
        values |= {tag: _number(numbers[i], f"{where}, column {REGRESS}{tag}") for tag, numbers in regress.items()}
        songs.append(
            Song(
                key=song_key(path),
                path=resolve(root, path),
                artist=sys.intern(cells["artist"][i]),
                labels=values,
                split=official_split(cells["split"][i], where),
            )
        )
    return songs, _vocabulary(labels, list(regress), audio)


def _name_columns(table: Columns, columns: Mapping[str, str], audio: str) -> Columns:
    """The four known columns as lists; absent optional ones hold ""."""
    unknown = sorted(set(columns) - set(_COLUMNS))
    if unknown:
        raise ValueError(f"columns names {unknown}; a table has {list(_COLUMNS)}")
    num_rows = len(next(iter(table.values()), []))
    if not num_rows:
        raise ValueError(f"{audio} has no rows")
    cells: Columns = {}
    for name in _COLUMNS:
        wanted = columns.get(name, name)
        if wanted not in table and name not in columns and name not in REQUIRED:
            cells[name] = [""] * num_rows
            continue
        found = column(table, wanted, audio, f" for {name}")
        cells[name] = found if name in REQUIRED else texts(found)
    return cells


def _tags(cell: Any, where: str) -> list[str]:
    try:
        return tag_names(cell)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _number(cell: Any, where: str) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where}: {cell!r} is not a number") from None
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{where}: {value} is not in [0, 1]")
    return value


def _vocabulary(labels: Sequence[Sequence[str]], regress: Sequence[str], audio: str) -> Vocabulary:
    if not regress:
        return vocabulary_of(labels, audio)
    names = sorted({name for row in labels for name in row})
    try:
        return Vocabulary((*(Tag(name) for name in names), *(Tag(name, "regress") for name in regress)))
    except ValueError as error:  # a regression tag without a name, or with that of a label
        raise ValueError(f"{audio}: {error}") from None
