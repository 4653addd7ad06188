"""Parquet tables: the only reader of any, which trusts neither their types nor their sizes.

A table may take in memory a thousand times the bytes that it has in its file, and MIN_DECODED in any case: songs of a
corpus take ten to a hundred times theirs.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from genrescale.storage.parquet_sizes import pages, read_footer, sizes_of
from genrescale.storage.store import Store

MIN_DECODED, MAX_DECODED, MAX_RATIO = 256 << 20, 16 << 30, 1000
"""Bytes of a table in memory that are always allowed, and never; and what lies between, for each byte in the file."""
MIN_ROWS = 1 << 20
"""Rows that are always allowed; more, as many as the file has bytes (no two songs have the same key)."""
MAX_CELL = 1 << 30
"""Bytes of a cell that is read alone, and of the page that it lies in."""
_FAULTS = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError)  # the last two: of texts and dates


class MissingColumnError(ValueError):
    """A table that lacks columns, whose ``names`` are listed."""

    def __init__(self, where: str, names: str, there: str) -> None:
        super().__init__(f"{where} has no column {names}; it has {there}")
        self.names = names


class ParquetTable:
    """A Parquet file whose types and sizes are checked before pyarrow reads it; ``where`` names it in errors.

    Every method raises ValueError for a file that is damaged, too large in memory, or not what was expected.
    """

    def __init__(self, file: IO[bytes] | pa.NativeFile, where: str) -> None:
        self._file, self._where = file, where
        try:
            self._footer = read_footer(file)
            num_rows = max(self._footer.num_rows, sum(self._footer.group_rows))
            if num_rows > max(MIN_ROWS, size := file.seek(0, io.SEEK_END)):
                raise ValueError(f"it is said to have {num_rows:,} rows in {size:,} bytes")
            self._parquet = pq.ParquetFile(file, page_checksum_verification=True)
        except (ValueError, *_FAULTS) as error:
            raise self._refused(error) from None

    @property
    def num_rows(self) -> int:
        return self._parquet.metadata.num_rows

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """What the writer says of the table. Raises ValueError where it is no text, see ``read_json``."""
        return self._parquet.schema_arrow.metadata or {}

    @property
    def leaves(self) -> list[str]:
        """The dotted paths of all columns, those inside nested ones too."""
        return [leaf.path for leaf in self._footer.leaves]

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The columns (names or dotted paths; None: all), each of another name."""
        try:
            self._check(columns)
            wanted = None if columns is None else list(columns)
            table = self._parquet.read(columns=wanted, use_threads=False, use_pandas_metadata=False)
        except (ValueError, *_FAULTS) as error:
            raise self._refused(error) from None
        names = table.column_names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self._where} has more than one column {twice[0]!r}; rename one")
        return table

    def select(self, schema: pa.Schema) -> pa.Table:
        """The columns of a schema.

        Raises ValueError where one is missing, of another type, or lacks a value although it is not nullable.
        """
        there = {leaf.partition(".")[0] for leaf in self.leaves}
        if missing := [name for name in schema.names if name not in there]:
            raise MissingColumnError(self._where, ", ".join(missing), ", ".join(sorted(there)))
        table = self.read(schema.names)
        for expected in schema:
            column = table[expected.name]
            if column.type != expected.type:
                raise ValueError(f"{self._where}: column {expected.name!r} holds {column.type}, not {expected.type}")
            if column.null_count and not expected.nullable:
                raise ValueError(f"{self._where}: column {expected.name!r} lacks {column.null_count} values")
        return table.select(schema.names)

    def cell(self, leaf: str, row: int) -> Any:
        """One cell of a leaf that is no list; no more than a page lies in memory. IndexError: there is no such row."""
        first = 0
        for group, num_rows in enumerate(self._footer.group_rows):
            if first <= row < first + num_rows:
                for i, value in enumerate(self._cells(leaf, group, row - first)):
                    if i == row - first:
                        return value
            first += num_rows
        raise IndexError(f"{self._where} has no row {row}")

    def holds(self, leaf: str) -> list[bool]:
        """Whether each row holds anything in a leaf: from the file's statistics where they say so, else row by row."""
        place, found = self.leaves.index(leaf), []
        for group, num_rows in enumerate(self._footer.group_rows):
            statistics = self._parquet.metadata.row_group(group).column(place).statistics
            nulls = statistics.null_count if statistics is not None and statistics.has_null_count else None
            if nulls in (0, num_rows):
                found += [nulls == 0] * num_rows
            else:
                found += map(bool, self._cells(leaf, group, num_rows - 1))
        return found

    def _cells(self, leaf: str, group: int, last: int) -> Iterator[Any]:
        """The cells of a leaf in a row group, to row ``last``, one at a time."""
        try:
            seen = 0
            for page in pages(self._file, self._footer.groups[group][self.leaves.index(leaf)]):
                if page.unpacked > MAX_CELL:
                    raise ValueError(f"a page of {leaf!r} takes {page.unpacked:,} bytes, more than {MAX_CELL:,}")
                seen += page.num_values
                if seen > last:
                    break
            options = {"batch_size": 1, "row_groups": [group], "columns": [leaf], "use_threads": False}
            for batch in self._parquet.iter_batches(**options):
                value = batch.column(0)[0].as_py()
                for name in leaf.split(".")[1:]:
                    value = value and value[name]
                yield value
        except (ValueError, KeyError, *_FAULTS) as error:
            raise self._refused(error) from None

    def _check(self, columns: Sequence[str] | None) -> None:
        sizes = sizes_of(self._file, self._footer, columns)
        allowed = min(MAX_DECODED, max(MIN_DECODED, MAX_RATIO * sizes.stored))
        if sizes.decoded > allowed:
            raise ValueError(
                f"it would take {sizes.decoded:,} bytes in memory, more than the {allowed:,} that are allowed for "
                f"{sizes.stored:,} in the file"
            )

    def _refused(self, error: Exception) -> ValueError:
        return ValueError(f"{self._where} cannot be read as Parquet: {error}")


def table_bytes(table: pa.Table) -> bytes:
    """A table as Parquet bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def table_of(
    data: bytes, where: str, schema: pa.Schema | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """The table that Parquet bytes hold; a page with a checksum is verified. ``where`` names it in errors.

    With a ``schema``, its columns alone (``ParquetTable.select``).
    """
    # Not pq.read_table: its threads keep hold of the bytes for a moment after it returns, and a process that ends in
    # that moment, such as a job whose last step it was, is aborted.
    file = ParquetTable(pa.BufferReader(data), where)
    return file.read(columns) if schema is None else file.select(schema)


def read_table(
    store: Store, path: str, schema: pa.Schema | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """``table_of`` a file of a store. Raises FileNotFoundError where there is none."""
    return table_of(store.read_bytes(path), f"{store.uri}/{path}", schema, columns)


def complete(schema: pa.Schema) -> pa.Schema:
    """The schema of a table that lacks no value."""
    return pa.schema([field.with_nullable(False) for field in schema])
