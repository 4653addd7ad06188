"""Parquet tables as bytes, the form in which a Store reads and writes them."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq


def table_bytes(table: pa.Table) -> bytes:
    """A table as Parquet bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def table_of(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """The table that Parquet bytes hold; a page with a checksum is verified.

    Not ``pq.read_table``: its threads keep hold of the bytes for a moment after it returns, and a process that ends in
    that moment, such as a job whose last step it was, is aborted.
    """
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    return file.read(columns=columns, use_threads=False)
