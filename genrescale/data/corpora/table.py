"""``table``: a CSV, TSV, JSON lines (``.jsonl``) or Parquet file with one row per song.

Columns (other names with ``columns={"labels": "genre"}``; further columns are ignored):

=================  ===============================================================================================
``path``           the encoded file: below the table's folder, a URL (``http://``, ``https://``, ``s3://``), or the
                   absolute path of a file, which only a table on this machine may name
``labels``         tag names: ``rock|guitar`` in one cell, or a list (Parquet, JSON); may be empty
``artist``         optional; empty: unknown
``group``          optional; what must not be divided between splits, such as the recording of a clip; empty: none
``split``          optional; ``train``, ``validation`` (``valid``, ``val``) or ``test``; empty: none
``regress:NAME``   optional, any number of columns: the value in [0, 1] of the regression tag NAME
=================  ===============================================================================================

The vocabulary is exclusive if every song has exactly one label and there is no regression tag.

A row that is bad by itself is rejected, and the other rows form the corpus:

- an empty path, one that is not text, or one that leads out of the table's folder
- labels that are neither names nor a list of names (a missing number, a list in a list)
- a split with an unknown name, or none if other rows have one
- a regression value that is not a number from 0 to 1
- a path that an earlier row has; the first row counts, even if it was rejected

The whole table is refused, with one error that names the problem, if no row of it can be trusted: it is unreadable
(damaged Parquet, a line that is not JSON, an unclosed quote, text that is not UTF-8); a row has a cell too many or too
few (its cells may be shifted); a column is missing (also due to a wrong delimiter) or repeated; a regression tag has no
name or the name of a label; no row has a label; no row can be used.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from genrescale.addresses import public_address
from genrescale.audio import Song, Tag, Vocabulary, song_key
from genrescale.config.corpus import TableColumns
from genrescale.data.corpora.cells import (
    SEPARATOR,
    SPLIT_NAMES,
    official_split,
    one_form,
    tag_names,
    vocabulary_of,
)
from genrescale.data.corpora.listing import Listing, Rows
from genrescale.data.corpora.reading import Columns, column, optional_column, read_columns
from genrescale.data.corpora.song_addresses import key_source, resolve, root_of, split_address

REQUIRED = ("path", "labels")
REGRESS = "regress:"


_COLUMNS = tuple(column.name for column in fields(TableColumns))


def list_songs(
    audio: str, columns: Mapping[str, str] | None = None, separator: str = SEPARATOR
) -> tuple[list[Song], Vocabulary]:
    """List the songs of the table ``audio``, in its order.

    Raises FileNotFoundError if there is no table. Raises ValueError for a missing column, naming it and the existing
    ones, and for an unusable cell, naming its row (the first is row 1).
    """
    return read_listing(audio, columns, separator).strict()


def read_listing(audio: str, columns: Mapping[str, str] | None = None, separator: str = SEPARATOR) -> Listing:
    """List the songs and the rejected rows of the table ``audio``, both in its order.

    ``separator`` stands between the labels of a cell.

    Raises FileNotFoundError if there is no table, and ValueError for a table that is refused as a whole (see above).
    """
    (store, name), shown = split_address(audio), public_address(audio)
    table = read_columns(store, name)
    cells = _name_columns(table, columns or {}, shown)
    regress = {key.removeprefix(REGRESS): table[key] for key in table if key.startswith(REGRESS)}
    root, rows, labels = root_of(store), Rows(shown), []
    official = any(split in SPLIT_NAMES for split in cells["split"])
    for i, path in enumerate(cells["path"]):
        row, key, address = f"row {i + 1}", "", ""
        try:
            if not path:
                raise ValueError(f"{row}: the path is empty")
            if not isinstance(path, str):
                raise ValueError(f"{row}: the path {path!r} is not text")
            key, address = song_key(key_source(root, path)), resolve(root, path, row)
            tags = _tags(cells["labels"][i], row, separator)
            values = dict.fromkeys(tags, 1.0)
            values |= {tag: _number(numbers[i], f"{row}, column {REGRESS}{tag}") for tag, numbers in regress.items()}
            split = official_split(cells["split"][i], row)
            if official and split is None:
                raise ValueError(f"{row}: it has no split, and other rows have one; give every row one, or none")
            artist, group = (sys.intern(one_form(cells[name][i])) for name in ("artist", "group"))
            rows.keep(i + 1, Song(key, address, artist, values, split, group=group))
        except ValueError as error:
            rows.reject(i + 1, str(error), key, address)
            continue
        labels.append(tags)
    rows.require_songs()
    vocabulary = _vocabulary(labels, list(regress), shown)
    return Listing(rows.songs, vocabulary, tuple(rows.rejected), notes=tuple(_notes(vocabulary, separator)))


def _notes(vocabulary: Vocabulary, separator: str) -> Iterator[str]:
    """Say which labels look like several labels in one."""
    for other in ",;/|":
        if other != separator and (held := [name for name in vocabulary.names if other in name.strip(other)]):
            yield (
                f"labels with {other!r} in them: {len(held)}, such as {held[0]!r}; "
                f"labels are separated by {separator!r}, and +options.separator={other!r} changes that"
            )


def _name_columns(table: Columns, columns: Mapping[str, str], audio: str) -> Columns:
    """Return the known columns as lists; missing optional ones, and those named "", hold ""."""
    unknown = sorted(set(columns) - set(_COLUMNS))
    if unknown:
        raise ValueError(f"columns= has unknown names {unknown}; known are {list(_COLUMNS)}")
    num_rows = len(next(iter(table.values()), []))
    if not num_rows:
        raise ValueError(f"{audio} has no rows")
    cells: Columns = {}
    for name in _COLUMNS:
        column_name = columns.get(name, name)
        if name in REQUIRED:
            cells[name] = column(table, column_name, audio, f" for {name}")
        else:
            cells[name] = optional_column(table, name, columns, num_rows, audio)
    return cells


def _tags(cell: Any, where: str, separator: str) -> list[str]:
    try:
        return tag_names(cell, separator)
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
    except ValueError as error:  # a regression tag without a name, or with the name of a label
        raise ValueError(f"{audio}: {error}") from None
