"""The songs that a corpus lacks, each with its reason: ``quarantine.parquet`` beside the shards.

They are songs that could not be decoded, songs that were taken down, and rows of a table that give no song.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from genrescale.storage.parquet import complete, read_table, table_bytes
from genrescale.storage.store import Store

QUARANTINE_PATH = "quarantine.parquet"
_SCHEMA = pa.schema({"key": pa.string(), "path": pa.string(), "reason": pa.string()})


@dataclass(frozen=True, order=True)
class Quarantined:
    """A song that is not in the corpus, where its encoded file lies ("" of one that was taken down), and why."""

    key: str
    path: str
    reason: str


@dataclass(frozen=True)
class Rejected:
    """A row of a table that gives no song.

    ``key`` is the one that its song would have, or one made of its number; ``path`` its encoded file, or the table
    where the row names none that could be read. ``reason`` begins with the row's number. ``generation`` is the addition
    that it came with (the plan knows).
    """

    key: str
    path: str
    table: str
    reason: str
    generation: int = 0

    def __str__(self) -> str:
        return f"{self.table}, {self.reason}"

    def quarantined(self, takedowns: Mapping[str, str]) -> Quarantined:
        """Its entry; ``takedowns`` maps the key of a song that was taken down to the reason."""
        if self.key in takedowns:
            return Quarantined(self.key, "", takedowns[self.key])
        return Quarantined(self.key, self.path, self.reason)


def write_quarantine(out: Store, songs: Iterable[Quarantined]) -> None:
    """Written in the order of the keys, so that its bytes depend on the songs alone."""
    rows = sorted(songs)
    columns = {name: [getattr(row, name) for row in rows] for name in _SCHEMA.names}
    out.write_bytes(QUARANTINE_PATH, table_bytes(pa.table(columns, schema=_SCHEMA)))


def read_quarantine(out: Store) -> list[Quarantined]:
    """Empty where there is none. Raises ValueError, naming the file, for one that is damaged."""
    if not out.exists(QUARANTINE_PATH):
        return []
    table = read_table(out, QUARANTINE_PATH, complete(_SCHEMA))
    return [Quarantined(**row) for row in table.to_pylist()]
