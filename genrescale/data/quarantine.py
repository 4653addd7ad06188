"""The quarantine: songs that are not in a corpus, with the reason of each (``quarantine.parquet`` beside the shards).

These are songs that could not be decoded, songs that were taken down, and rows of a table without a song.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from genrescale.storage.parquet import complete, read_table, table_bytes
from genrescale.storage.store import Store

QUARANTINE_PATH = "quarantine.parquet"
OTHER_REASONS = "other reasons"
_REASONS, _REASON_LEN = 20, 100  # of common_reasons
_NUMBER = re.compile(r"\d[\d.,]*")
_SCHEMA = pa.schema({"key": pa.string(), "path": pa.string(), "reason": pa.string()})


@dataclass(frozen=True, order=True)
class Quarantined:
    """A song that is not in the corpus: key, path of its encoded file ("" if it was taken down), and reason."""

    key: str
    path: str
    reason: str


@dataclass(frozen=True)
class Rejected:
    """A row of a table without a usable song.

    ``key`` is the key that its song would have, or one made from the row number. ``path`` is its encoded file, or the
    table if the row names no readable file. ``reason`` starts with the row number. ``generation`` is the addition that
    the row came with; the plan sets it.
    """

    key: str
    path: str
    table: str
    reason: str
    generation: int = 0

    def __str__(self) -> str:
        return f"{self.table}, {self.reason}"

    def quarantined(self, takedowns: Mapping[str, str]) -> Quarantined:
        """Return the row's quarantine entry. ``takedowns`` maps the keys of songs that were taken down to reasons."""
        if self.key in takedowns:
            return Quarantined(self.key, "", takedowns[self.key])
        return Quarantined(self.key, self.path, self.reason)


def write_quarantine(out: Store, songs: Iterable[Quarantined]) -> None:
    """Write the entries sorted by key, so that the bytes depend on the songs only."""
    rows = sorted(songs)
    columns = {name: [getattr(row, name) for row in rows] for name in _SCHEMA.names}
    out.write_bytes(QUARANTINE_PATH, table_bytes(pa.table(columns, schema=_SCHEMA)))


def read_quarantine(out: Store) -> list[Quarantined]:
    """Read the entries; an empty list if there is no file."""
    if not out.exists(QUARANTINE_PATH):
        return []
    table = read_table(out, QUARANTINE_PATH, complete(_SCHEMA))
    return [Quarantined(**row) for row in table.to_pylist()]


def common_reasons(reasons: Iterable[str]) -> dict[str, int]:
    """Count songs by reason, without the numbers in it; at most 20 reasons, the rarer ones and none at all as one."""
    counts = Counter(_NUMBER.sub("…", reason)[:_REASON_LEN] for reason in reasons).most_common()
    common = dict(counts[: _REASONS - 1])
    return {**common, OTHER_REASONS: sum(count for reason, count in counts if reason not in common)}
