"""Read and write Parquet tables. This is the only reader; it trusts neither the types nor the sizes that a file states.

In memory a table may take a thousand times the bytes of its file, and MIN_DECODED in any case. The songs of a corpus
take ten to a hundred times as many.
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
"""Bytes of a table in memory: always allowed, never allowed, and allowed for each byte in the file."""
MIN_ROWS = 1 << 20
"""Rows that are always allowed. More are allowed if the file has at least one byte for each."""
MAX_CELL = 1 << 30
"""The largest page, in bytes, out of which a single cell is read."""
_FAULTS = (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError)  # the last two come from texts and dates


class MissingColumnError(ValueError):
    """A table lacks the columns ``names``."""

    def __init__(self, where: str, names: str, there: str) -> None:
        super().__init__(f"{where} has no column {names}; it has {there}")
        self.names = names


class ParquetTable:
    """A Parquet file whose types and sizes are checked before pyarrow reads it. ``where`` names it in errors.

    Every method raises ValueError if the file is damaged, too large in memory, or not as expected.
    """

    def __init__(self, file: IO[bytes] | pa.NativeFile, where: str) -> None:
        self._file, self._where = file, where
        try:
            self._footer = read_footer(file)
            num_rows = max(self._footer.num_rows, sum(self._footer.group_rows))
            if num_rows > max(MIN_ROWS, size := file.seek(0, io.SEEK_END)):
                raise ValueError(f"it states {num_rows:,} rows in {size:,} bytes")
            self._parquet = pq.ParquetFile(file, page_checksum_verification=True, arrow_extensions_enabled=False)
        except (ValueError, *_FAULTS) as error:
            raise self._refused(error) from None

    @property
    def num_rows(self) -> int:
        """The number of rows."""
        return self._parquet.metadata.num_rows

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """The texts that its writer attached to the table."""
        return self._parquet.schema_arrow.metadata or {}

    @property
    def leaves(self) -> list[str]:
        """The dotted paths of all columns, including those inside nested columns."""
        return [leaf.path for leaf in self._footer.leaves]

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read columns (names or dotted paths; None: all). Raises ValueError if two have the same name."""
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
        """Read the columns of a schema.

        Raises ValueError if one is missing, has another type, or has null values although it is not nullable.
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
                raise ValueError(f"{self._where}: column {expected.name!r} has {column.null_count} null values")
        return table.select(schema.names)

    def cell(self, leaf: str, row: int) -> Any:
        """Read one cell of a leaf that is not in a list, page by page. Raises IndexError if there is no such row."""
        first = 0
        for group, num_rows in enumerate(self._footer.group_rows):
            if first <= row < first + num_rows:
                for i, value in enumerate(self._cells(leaf, group, row - first)):
                    if i == row - first:
                        return value
            first += num_rows
        raise IndexError(f"{self._where} has no row {row}")

    def holds(self, leaf: str) -> list[bool]:
        """Return for each row whether a leaf has a value, from the file's statistics if they tell, else row by row."""
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
        """Yield the cells of a leaf in a row group one by one; the pages up to row ``last`` are checked."""
        try:
            if leaf not in self.leaves:
                raise ValueError(f"it has no column {leaf!r}")
            seen = 0
            for page in pages(self._file, self._footer.groups[group][self.leaves.index(leaf)]):
                if page.unpacked > MAX_CELL:
                    raise ValueError(f"a page of {leaf!r} takes {page.unpacked:,} bytes, more than {MAX_CELL:,}")
                seen += page.num_values
                if seen > last:
                    break
            for batch in self._parquet.iter_batches(1, row_groups=[group], columns=[leaf], use_threads=False):
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
                f"{sizes.stored:,} bytes in the file"
            )

    def _refused(self, error: Exception) -> ValueError:
        return ValueError(f"{self._where} cannot be read as Parquet: {error}")


def table_bytes(table: pa.Table) -> bytes:
    """Return a table as Parquet bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def table_of(
    data: bytes, where: str, schema: pa.Schema | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read a table from Parquet bytes, and verify the checksums of its pages. ``where`` names it in errors.

    With a ``schema``, only its columns are read (``ParquetTable.select``). Raises ValueError as ParquetTable does.
    """
    # Not pq.read_table: its threads hold the bytes for a moment after it returns. A process that ends in that moment,
    # such as a job whose last step this was, is aborted.
    file = ParquetTable(pa.BufferReader(data), where)
    return file.read(columns) if schema is None else file.select(schema)


def read_table(
    store: Store, path: str, schema: pa.Schema | None = None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Read a Parquet file of a store with ``table_of``. Raises FileNotFoundError if there is none."""
    return table_of(store.read_bytes(path), f"{store.uri}/{path}", schema, columns)


def complete(schema: pa.Schema) -> pa.Schema:
    """Return the schema with no column nullable."""
    return pa.schema([field.with_nullable(False) for field in schema])
