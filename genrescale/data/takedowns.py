"""The list of songs that were taken down (``takedowns.parquet``), which is read before anything is sharded."""

from __future__ import annotations

from genrescale.storage.parquet import table_of
from genrescale.storage.store import Store

TAKEDOWNS_PATH = "takedowns.parquet"


def read_takedowns(store: Store) -> dict[str, str]:
    """Read key -> reason of the songs that were taken down."""
    if not store.exists(TAKEDOWNS_PATH):
        return {}
    table = table_of(store.read_bytes(TAKEDOWNS_PATH))
    return dict(zip(table["key"].to_pylist(), table["reason"].to_pylist(), strict=True))
