"""Features of the songs of a corpus, in files beside its shards: a vector of numbers for each song.

``features/{name}-{version}.parquet``: ``name`` is a kind of features, ``version`` that of the corpus when the file was
written. A file holds the songs that were asked for so far. Columns: ``key``, ``crc32`` and ``num_samples``, which
together say which audio was looked at, and ``values``. Its metadata name the numbers, and the ``definition``, a text
that changes with the way they are computed. Shapes: N songs, F features.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from genrescale.storage.json_bytes import read_json
from genrescale.storage.names import FEATURES_PATH
from genrescale.storage.parquet import ParquetTable, complete
from genrescale.storage.store import Store

FEATURES = "features"
Audio = tuple[str, int, int]
"""Which audio a vector is of: the song's key, checksum and number of samples."""
_ROWS = 16_384  # of a row group
_SCHEMA = pa.schema(
    {"key": pa.string(), "crc32": pa.uint32(), "num_samples": pa.int64(), "values": pa.list_(pa.float32())}
)


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Vectors (N, F) of songs, float32; ``audio`` says of which audio each is."""

    audio: list[Audio]
    value_NF: np.ndarray


def features_path(name: str, version: str) -> str:
    return f"{FEATURES}/{name}-{version}.parquet"


def feature_files(store: Store) -> list[str]:
    """The files of features of a corpus, of all its versions; none in a store that cannot be listed."""
    if store.uri.startswith(("http://", "https://")):
        return []
    return [path for path in store.list(FEATURES) if FEATURES_PATH.fullmatch(path)]


def read_features(store: Store, path: str, definition: str, columns: tuple[str, ...]) -> FeatureTable | None:
    """Read a file; None if its numbers are others than ``columns``, or were computed in another way.

    Raises ValueError, naming the file, if it cannot be read or holds a number that is not finite.
    """
    with store.opened(path) as file:
        table = ParquetTable(file, f"{store.uri}/{path}")
        metadata = table.metadata
        names = read_json(metadata.get(b"columns", b"null"), f"the columns of {store.uri}/{path}")
        if metadata.get(b"definition", b"").decode(errors="replace") != definition or names != list(columns):
            return None
        rows = table.select(complete(_SCHEMA))
    value_NF = np.concatenate([np.zeros(0, np.float32), *(np.asarray(c.flatten()) for c in rows["values"].chunks)])
    if len(value_NF) != len(rows) * len(columns) or not np.isfinite(value_NF).all():
        raise ValueError(f"{store.uri}/{path}: its vectors are not {len(columns)} finite numbers each; delete the file")
    audio = zip(*(rows[name].to_pylist() for name in ("key", "crc32", "num_samples")), strict=True)
    return FeatureTable(list(audio), value_NF.reshape(len(rows), len(columns)))


def write_features(
    store: Store, name: str, version: str, definition: str, columns: tuple[str, ...], table: FeatureTable
) -> None:
    """Write the file of a version, and delete those of others, whose songs ``table`` holds as far as they remain."""
    path = features_path(name, version)
    metadata = {"definition": definition, "columns": json.dumps(list(columns))}
    _write(store, path, metadata, _parts(table))
    older = [other for other in feature_files(store) if other.rpartition("-")[0] == path.rpartition("-")[0]]
    store.delete(*(other for other in older if other != path))


def _parts(table: FeatureTable) -> Iterator[pa.Table]:
    """The table as row groups, one at a time: a second copy of a large one is not made."""
    for low in range(0, max(1, len(table.audio)), _ROWS):
        audio, value_nF = table.audio[low : low + _ROWS], table.value_NF[low : low + _ROWS].astype(np.float32)
        bounds = np.arange(len(audio) + 1, dtype=np.int32) * table.value_NF.shape[1]
        columns = [[song[place] for song in audio] for place in range(3)]
        values = pa.ListArray.from_arrays(pa.array(bounds), pa.array(value_nF.reshape(-1)))
        yield pa.table([*columns, values], schema=_SCHEMA)


def _write(store: Store, path: str, metadata: dict[str, str], parts: Iterator[pa.Table]) -> None:
    schema = _SCHEMA.with_metadata(metadata)
    with store.whole_file(path) as file, pq.ParquetWriter(file, schema) as writer:
        for part in parts:
            writer.write_table(part.cast(schema))


def held_songs(store: Store, path: str) -> list[Audio]:
    """The songs of a file. Raises ValueError, naming the file, if it cannot be read."""
    with store.opened(path) as file:
        rows = ParquetTable(file, f"{store.uri}/{path}").select(complete(pa.schema(list(_SCHEMA)[:3])))
    return list(zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True))


def keep_features(store: Store, keep: Callable[[str], bool]) -> list[str]:
    """Remove the songs whose key ``keep`` refuses from every file of features; returns the files that changed.

    A file that cannot be read is deleted: it may hold such a song, and what it holds can be computed anew.
    """
    changed = []
    for path in feature_files(store):
        try:
            if all(keep(key) for key, _, _ in held_songs(store, path)):
                continue
            with store.opened(path) as file:
                table = ParquetTable(file, f"{store.uri}/{path}")
                metadata = {name: table.metadata.get(name.encode(), b"").decode() for name in ("definition", "columns")}
                rows = table.select(complete(_SCHEMA))
        except ValueError:
            store.delete(path)
        else:
            kept = rows.filter(pa.array([keep(key) for key in rows["key"].to_pylist()], pa.bool_()))
            _write(store, path, metadata, iter([kept]))
        changed.append(path)
    return changed
