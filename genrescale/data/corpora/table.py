"""A table of songs as a corpus: a CSV or Parquet file with one row per song.

Columns (other names by ``columns={"labels": "genre"}``; further columns are passed over):

=================  ===============================================================================================
``path``           the encoded file, relative to the table's folder, absolute, or a URI
``labels``         tag names: ``rock|guitar`` in one cell, or a list (Parquet); may be empty
``artist``         optional; empty: unknown
``split``          optional; ``train``, ``validation`` (``valid``, ``val``) or ``test``; empty: no official split
``regress:NAME``   optional, any number: a number in [0, 1], the value of the regression tag NAME
=================  ===============================================================================================

The vocabulary is exclusive where every song has exactly one label and there is no regression tag.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from genrescale.audio import Song, Tag, Vocabulary, song_key
from genrescale.data.corpora.folder import source_path
from genrescale.data.store import Store

REQUIRED = ("path", "labels")
REGRESS = "regress:"
SEPARATOR = "|"
SPLIT_NAMES = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}


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
    folder, slash, name = audio.rpartition("/")
    store = Store(folder or slash or ".")
    table = _read_table(store, name)
    cells = _name_columns(table, columns or {}, audio)
    regress = {column.removeprefix(REGRESS): table[column] for column in table if column.startswith(REGRESS)}
    labels = [_labels(cell) for cell in cells["labels"]]
    songs = []
    for i, path in enumerate(cells["path"]):
        where = f"{audio}, row {i + 1}"
        if not path:
            raise ValueError(f"{where}: the path is empty")
        values = dict.fromkeys(labels[i], 1.0)
        values |= {tag: _number(column[i], f"{where}, column {REGRESS}{tag}") for tag, column in regress.items()}
        songs.append(
            Song(
                key=song_key(path),
                path=_resolve(store, path),
                artist=cells["artist"][i],
                labels=values,
                split=_split(cells["split"][i], where),
            )
        )
    return songs, _vocabulary(labels, list(regress), audio)


def _read_table(store: Store, name: str) -> dict[str, list[Any]]:
    data = store.read_bytes(name)
    if name.lower().endswith(".parquet"):
        return pq.read_table(io.BytesIO(data)).to_pydict()
    if name.lower().endswith(".csv"):
        # as text: a genre called "80" or "None" is a name, and an artist "NA" is not a missing value
        frame = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, encoding="utf-8-sig")
        return {str(column): frame[column].tolist() for column in frame.columns}
    raise ValueError(f"{name} is neither a .csv nor a .parquet table")


def _name_columns(table: Mapping[str, list[Any]], columns: Mapping[str, str], audio: str) -> dict[str, list[Any]]:
    """The four known columns as lists; absent optional ones hold ""."""
    unknown = sorted(set(columns) - set(_COLUMNS))
    if unknown:
        raise ValueError(f"columns names {unknown}; a table has {list(_COLUMNS)}")
    num_rows = len(next(iter(table.values()), []))
    if not num_rows:
        raise ValueError(f"{audio} has no rows")
    cells = {}
    for name in _COLUMNS:
        column = columns.get(name, name)
        if column in table:
            cells[name] = ["" if cell is None else cell for cell in table[column]]
        elif name in columns or name in REQUIRED:
            raise ValueError(f"{audio} has no column {column!r} for {name}; it has {sorted(table)}")
        else:
            cells[name] = [""] * num_rows
    return cells


def _labels(cell: str | Sequence[str]) -> list[str]:
    names = cell.split(SEPARATOR) if isinstance(cell, str) else cell
    return [stripped for name in names if (stripped := str(name).strip())]


def _number(cell: Any, where: str) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: {cell!r} is not a number") from None
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{where}: {value} is not in [0, 1]")
    return value


def _split(cell: str, where: str) -> str | None:
    if cell and cell not in SPLIT_NAMES:
        raise ValueError(f"{where}: split {cell!r} is none of {list(SPLIT_NAMES)}")
    return SPLIT_NAMES[cell] if cell else None


def _resolve(store: Store, path: str) -> str:
    return path if "://" in path or PurePosixPath(path).is_absolute() else source_path(store, path)


def _vocabulary(labels: Sequence[Sequence[str]], regress: Sequence[str], audio: str) -> Vocabulary:
    names = sorted({name for row in labels for name in row})
    if not names and not regress:
        raise ValueError(f"{audio} has no label in any row")
    exclusive = not regress and all(len(set(row)) == 1 for row in labels)
    tags = [*(Tag(name) for name in names), *(Tag(name, "regress") for name in regress)]
    return Vocabulary(tuple(tags), exclusive=exclusive)
