"""The songs that a corpus lacks, each with its reason: ``quarantine.parquet`` beside the shards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from genrescale.data.store import Store
from genrescale.results import table_bytes, table_of

QUARANTINE_PATH = "quarantine.parquet"


@dataclass(frozen=True, order=True)
class Quarantined:
    """A song that is not in the corpus, where its encoded file lies ("" of one that was taken down), and why."""

    key: str
    path: str
    reason: str


def write_quarantine(out: Store, songs: Iterable[Quarantined]) -> None:
    """Written in the order of the keys, so that its bytes depend on the songs alone."""
    rows = sorted(songs)
    columns = {name: pa.array([getattr(row, name) for row in rows], pa.string()) for name in ("key", "path", "reason")}
    out.write_bytes(QUARANTINE_PATH, table_bytes(pa.table(columns)))


def read_quarantine(out: Store) -> list[Quarantined]:
    """Empty where there is none."""
    if not out.exists(QUARANTINE_PATH):
        return []
    table = table_of(out.read_bytes(QUARANTINE_PATH))
    return [Quarantined(**row) for row in table.to_pylist()]
