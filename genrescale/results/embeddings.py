"""Embeddings of songs as a Parquet file: what a model hears in a song, before its head makes tags of it.

Columns: ``song``, a key of a corpus or an address, and ``embedding``, D numbers. Shapes: N songs, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from genrescale.storage.parquet import complete, table_of

ROWS = 1024  # of a row group: what is held in memory
_SCHEMA = pa.schema([("song", pa.string()), ("embedding", pa.list_(pa.float32()))])


@contextmanager
def embedding_writer(file: IO[bytes]) -> Iterator[Callable[[str, np.ndarray], None]]:
    """``add(song, embedding_D)`` for ``file``, which is whole when the block ends."""
    rows: list[tuple[str, np.ndarray]] = []

    def write() -> None:
        songs, embeddings = [song for song, _ in rows], [embedding_D.astype(np.float32) for _, embedding_D in rows]
        columns = [pa.array(songs, pa.string()), pa.array(embeddings, pa.list_(pa.float32()))]
        writer.write_table(pa.table(columns, schema=_SCHEMA))
        rows.clear()

    def add(song: str, embedding_D: np.ndarray) -> None:
        rows.append((song, embedding_D))
        if len(rows) == ROWS:
            write()

    with pq.ParquetWriter(file, _SCHEMA) as writer:
        yield add
        write()


def read_embeddings(data: bytes) -> tuple[list[str], np.ndarray]:
    """The songs of such a file and their embeddings (N, D). Raises ValueError for anything else."""
    try:
        table = table_of(data, "the file", complete(_SCHEMA))
    except ValueError as error:
        raise ValueError(f"no file of embeddings, as jobs/tag.py embeddings=FILE writes it ({error})") from None
    if not len(table):
        raise ValueError(f"no embeddings: 0 rows with the columns {table.schema.names}")
    lengths = set(pc.call_function("list_value_length", [table["embedding"]]).to_pylist())
    if len(lengths) > 1:
        raise ValueError(f"embeddings of several models: they have {sorted(lengths)} dimensions")
    embedding_ND = np.asarray(table["embedding"].combine_chunks().flatten()).reshape(len(table), -1)
    return table["song"].to_pylist(), embedding_ND
