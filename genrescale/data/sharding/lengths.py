"""Find songs whose audio length is far from the length that their corpus states: clips cut short, wrong recordings.

They are kept and reported: in the job's summary, in ``describe``, and in ``odd_lengths.parquet`` beside the shards,
which exists only if there are such songs. Songs shorter than ``min_s`` are in the quarantine, as always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from genrescale.audio import SAMPLE_RATE, Song
from genrescale.data.manifest import Manifest
from genrescale.storage.parquet import complete, read_table, table_bytes
from genrescale.storage.store import Store

ODD_LENGTHS_PATH = "odd_lengths.parquet"
TOLERANCE, TOLERANCE_S = 0.05, 1.0
"""Allowed difference from the stated length: this share, at least this many seconds. Encoders pad, tables round."""
_SHOWN = 3
_SCHEMA = pa.schema({"key": pa.string(), "path": pa.string(), "expected_s": pa.float64(), "found_s": pa.float64()})


@dataclass(frozen=True)
class OddLength:
    """A song in the shards with its stated and its actual length; for an excerpt, at most ``max_s`` is expected."""

    key: str
    path: str
    expected_s: float
    found_s: float

    def __str__(self) -> str:
        return f"{self.path} has {self.found_s:.1f} s, not {self.expected_s:.1f} s"


def odd_lengths(songs: Sequence[Song], manifest: Manifest) -> list[OddLength]:
    """List the songs of a manifest that are far from their ``expected_s``, in the manifest's order."""
    stated = {song.key: song.expected_s for song in songs if song.expected_s}
    if not stated:
        return []
    max_s = float(manifest.settings.get("max_s", 0)) or np.inf
    keys = manifest.songs["key"].to_pylist()
    expected_N = np.minimum([stated.get(key, np.nan) for key in keys], max_s)
    found_N = manifest.column("num_samples") / SAMPLE_RATE
    far_N = np.abs(found_N - expected_N) > np.maximum(TOLERANCE * expected_N, TOLERANCE_S)  # NaN: none is stated
    return [
        OddLength(keys[row], manifest.songs["path"][row].as_py(), float(expected_N[row]), float(found_N[row]))
        for row in np.flatnonzero(far_N).tolist()
    ]


def write_odd_lengths(out: Store, found: Sequence[OddLength]) -> None:
    """Write the list, or delete the file if the list is empty."""
    if found:
        columns = {name: [getattr(song, name) for song in found] for name in _SCHEMA.names}
        out.write_bytes(ODD_LENGTHS_PATH, table_bytes(pa.table(columns, schema=_SCHEMA)))
    elif out.exists(ODD_LENGTHS_PATH):
        out.delete(ODD_LENGTHS_PATH)


def read_odd_lengths(manifest: Manifest) -> list[OddLength]:
    """Read the list, without songs that were taken down since."""
    store = Store(manifest.uri)
    if not store.exists(ODD_LENGTHS_PATH):
        return []
    there = set(manifest.songs["key"].to_pylist())
    rows = read_table(store, ODD_LENGTHS_PATH, complete(_SCHEMA)).to_pylist()
    return [OddLength(**row) for row in rows if row["key"] in there]


def sentence(songs: Sequence[OddLength]) -> str:
    """Describe how many such songs there are, with the first of them."""
    short = sum(song.found_s < song.expected_s for song in songs)
    more = f"; all are in {ODD_LENGTHS_PATH}" if len(songs) > _SHOWN else ""
    return (
        f"{len(songs)} songs are far from the length that their corpus states, {short} of them shorter: "
        f"{'; '.join(map(str, songs[:_SHOWN]))}{more}"
    )
