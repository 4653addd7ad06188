"""Tables of a corpus as lists by column.

Tables are read completely and strictly: too many or too few cells in a row, text that is not UTF-8, or a missing column
raise ValueError with the file and the row (the first row below the header is row 1).
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from genrescale.addresses import public_address
from genrescale.data.corpora.cells import texts
from genrescale.storage.json_bytes import read_json
from genrescale.storage.parquet import ParquetTable
from genrescale.storage.store import Store

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_MAX_CELL = 1 << 26  # biographies in FMA's tables exceed the csv module's default limit

Columns = dict[str, list[Any]]


def read_columns(store: Store, name: str, delimiter: str = "", remedy: str = "") -> Columns:
    """Read a table with a header as lists of equal length by column. The suffix determines the format.

    CSV and TSV cells stay text: a genre may be called "80" or "None". In JSON lines, a missing key is None.
    ``delimiter`` overrides that of the suffix. ``remedy`` ends the error message if the file is missing.
    """
    where = public_address(f"{store.uri}/{name}")
    suffix = PurePosixPath(where).suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise ValueError(f"{where} is not a table in a supported format: {', '.join(TABLE_SUFFIXES)}")
    if suffix == ".parquet":
        return read_parquet(open_parquet(store, name, remedy), where)
    if suffix == ".jsonl":
        return _columns_of_lines(_text(store, name, remedy), where)
    text, told = _text(store, name, remedy), _delimiter_line(store, name, suffix)
    rows = _cells(text, delimiter or told or ("\t" if suffix == ".tsv" else ","), where, header=True)
    if told:
        next(rows)
    header = [name.strip() for name in next(rows, [])]
    nameless = [i for i, name in enumerate(header) if not name]
    _refuse_twice([name for name in header if name], where)
    columns: list[list[str]] = [[] for _ in header]
    for i, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise ValueError(
                f"{where}, row {i}: {len(row)} cells, but the header has {len(header)}; quote or repair the row"
            )
        for column, cell in zip(columns, row, strict=True):
            column.append(cell)
    # spreadsheets write columns and rows without a cell; a column without a name that has cells is a mistake
    for i in nameless:
        if row := next((row for row, cell in enumerate(columns[i], 1) if cell.strip()), 0):
            raise ValueError(f"{where}: column {i + 1} has no name, but row {row} has a cell in it; name it")
    last = max((row for column in columns for row, cell in enumerate(column, 1) if cell.strip()), default=0)
    return {name: column[:last] for name, column in zip(header, columns, strict=True) if name}


def _delimiter_line(store: Store, name: str, suffix: str) -> str:
    """Return the separator that the line ``sep=;`` states, which Excel reads and writes before the header, or ""."""
    if suffix not in (".csv", ".tsv"):
        return ""
    first = store.read_at_most(name, 16).removeprefix(b"\xef\xbb\xbf").splitlines()[:1]
    return first[0][4:5].decode("ascii", "ignore") if first and re.fullmatch(rb"sep=.", first[0]) else ""


def read_rows(store: Store, name: str, delimiter: str = "\t", remedy: str = "") -> Iterator[list[str]]:
    """Read the rows of a text table without a header, or with rows of different lengths; empty lines are ignored."""
    return _cells(_text(store, name, remedy), delimiter, f"{store.uri}/{name}", header=False)


def read_lines(store: Store, name: str, remedy: str = "") -> list[str]:
    """Read the lines of a text file that are not empty, without surrounding spaces."""
    return [stripped for line in _text(store, name, remedy) if (stripped := line.strip())]


def open_parquet(store: Store, name: str, remedy: str = "") -> ParquetTable:
    """A Parquet file, which is read by column: audio that lies in the same file stays where it is."""
    try:
        return ParquetTable(store.opened(name), f"{store.uri}/{name}")
    except (FileNotFoundError, IsADirectoryError):
        raise _missing(store, name, remedy) from None


def read_parquet(file: ParquetTable, where: str, columns: Sequence[str] | None = None) -> Columns:
    """Columns by their names or dotted paths, as lists of Python's own values."""
    try:
        return file.read(columns).to_pydict()
    except (pa.ArrowException, UnicodeDecodeError, OverflowError) as error:  # texts, and dates of the year 10,000
        raise ValueError(f"{where} cannot be read as Parquet: {error}") from None


def embedded_rows(file: ParquetTable, column: str) -> list[bool]:
    """Return whether ``column.bytes`` of each row has content; all False if there is no such column.

    Uses the file's statistics where they are sufficient, else reads one song at a time.
    """
    wanted = f"{column}.bytes"
    return file.holds(wanted) if wanted in file.leaves else [False] * file.num_rows


def _refuse_twice(names: Sequence[str], where: str) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{where} has more than one column {twice[0]!r}; rename one")


def column(table: Mapping[str, list[Any]], name: str, where: str, use: str = "") -> list[Any]:
    """Return a column. Raises ValueError if it is missing, naming the existing ones and, if given, its ``use``."""
    if name not in table:
        raise ValueError(f"{where} has no column {name!r}{use}; it has {sorted(table)}")
    return table[name]


def optional_column(
    table: Mapping[str, list[Any]], name: str, columns: Mapping[str, str], num_rows: int, where: str
) -> list[str]:
    """Return the texts of the column for ``name``, which ``columns`` may rename; without one "" for each row.

    A renamed column must exist, unless it was renamed to "".
    """
    column_name = columns.get(name, name)
    if not column_name or (column_name not in table and name not in columns):
        return [""] * num_rows
    return texts(column(table, column_name, where, f" for {name}"))


def _bytes(store: Store, name: str, remedy: str) -> bytes:
    try:
        return store.read_bytes(name)
    except (FileNotFoundError, IsADirectoryError):
        raise _missing(store, name, remedy) from None


def _missing(store: Store, name: str, remedy: str) -> FileNotFoundError:
    return FileNotFoundError(f"{store.uri}/{name} does not exist{f'; {remedy}' if remedy else ''}")


def _text(store: Store, name: str, remedy: str) -> io.TextIOBase:
    data = _bytes(store, name, remedy)
    _check_encoding(data, f"{store.uri}/{name}")
    # newline="": the csv module must see line breaks inside quotes
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")


def _check_encoding(data: bytes, where: str) -> None:
    """Raise ValueError, with the line, unless a text is in UTF-8."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{where} is in UTF-16; save it as UTF-8")
    if data.startswith(b"\x93NUMPY") or b"\0" in data[:4096]:
        raise ValueError(f"{where} is no text file; save it as text in UTF-8")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{where}, line {line}, is not in UTF-8 ({error.reason}); save it as UTF-8") from None


def _cells(text: io.TextIOBase, delimiter: str, where: str, header: bool) -> Iterator[list[str]]:
    csv.field_size_limit(_MAX_CELL)
    count = 0
    # published TSVs have unquoted titles like "Heroes" (live), which a strict reader refuses; but a loose one lets an
    # unclosed quote swallow the following rows, so no cell may contain a line break
    loose = delimiter == "\t"
    try:
        for row in csv.reader(text, delimiter=delimiter, strict=not loose):
            if loose and any("\n" in cell for cell in row):
                raise csv.Error("a quote does not end on its line")
            if row:
                yield row
                count += 1
    except csv.Error as error:
        row = f"row {number}" if (number := count + (not header)) else "its header"
        raise ValueError(f"{where}, {row}: {error}; quote or repair the row") from None


def _columns_of_lines(text: io.TextIOBase, where: str) -> Columns:
    rows: list[dict[str, Any]] = []
    for line in text:
        if line.strip():
            rows.append(_object(line, f"{where}, row {len(rows) + 1}"))
    names = dict.fromkeys(key for row in rows for key in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        found = read_json(line, where, max_digits=1000)  # of one cell, which its row answers for
        if "\\u" in line:  # half of a surrogate pair is JSON, but no text that could be written anywhere
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} holds half of a surrogate pair, which is not Unicode text") from None
    if not isinstance(found, dict):
        raise ValueError(f'{where}: expected an object like {{"path": ...}}')
    return found
