"""The list of songs that were taken down (``takedowns.parquet``), which is read before anything is sharded."""

from __future__ import annotations

import pyarrow as pa

from genrescale.storage.parquet import complete, read_table
from genrescale.storage.store import Store

TAKEDOWNS_PATH = "takedowns.parquet"
TAKEDOWN_SCHEMA = pa.schema({"key": pa.string(), "reason": pa.string()})


def read_takedowns(store: Store) -> dict[str, str]:
    """Read key -> reason of the songs that were taken down."""
    if not store.exists(TAKEDOWNS_PATH):
        return {}
    table = read_table(store, TAKEDOWNS_PATH, complete(TAKEDOWN_SCHEMA))
    return dict(zip(table["key"].to_pylist(), table["reason"].to_pylist(), strict=True))
