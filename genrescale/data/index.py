"""The index of one shard: the position of each song's PCM in the tar, and a checksum of every second of it.

It is written after its shard, so a shard without an index is unfinished. Parquet columns: ``key``, ``order`` (position
in the split's nested order), ``offset`` (bytes), ``num_samples``, ``crc32`` (of the whole PCM), ``crc32_seconds`` (a
list, one for each started second). The metadata hold the shard's size, SHA-256, plan digest and quarantined songs, and
the notes on songs if there are any.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from isal.isal_zlib import crc32  # same values as zlib's, ten times as fast: 0.012 instead of 0.124 ms for 15 s

from genrescale.audio import SAMPLE_BYTES, SAMPLE_RATE
from genrescale.config.numbers import ceil_div
from genrescale.storage.json_bytes import read_object
from genrescale.storage.parquet import complete, table_of

_META = b"genrescale"
_SCHEMA = complete(
    pa.schema(
        {
            "key": pa.string(),
            "order": pa.int64(),
            "offset": pa.int64(),
            "num_samples": pa.int64(),
            "crc32": pa.uint32(),
            "crc32_seconds": pa.list_(pa.uint32()),
        }
    )
)
_SECOND_BYTES = SAMPLE_RATE * SAMPLE_BYTES


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """The index of one shard. ``checksums`` (uint32) are all songs' per-second checksums, in the shard's order.

    ``plan_digest`` identifies the songs and settings that the shard was written for; ``quarantined`` maps key ->
    reason, ``notes`` key -> what decoding noted.
    """

    keys: list[str]
    order: np.ndarray
    offset: np.ndarray
    num_samples: np.ndarray
    crc32: np.ndarray
    checksums: np.ndarray
    num_bytes: int
    sha256: str
    plan_digest: str
    quarantined: dict[str, str]
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    file_sha256: str = ""  # of the index itself, as it was read

    @property
    def crc_start(self) -> np.ndarray:
        """Index (N,) of each song's first checksum in ``checksums``."""
        return first_checksums(self.num_samples)


def num_seconds(num_samples: np.ndarray) -> np.ndarray:
    """Return the number of started seconds of audio."""
    return ceil_div(num_samples, SAMPLE_RATE)


def first_checksums(num_samples: np.ndarray) -> np.ndarray:
    counts = num_seconds(num_samples)
    return np.cumsum(counts) - counts


def second_checksums(pcm: bytes) -> np.ndarray:
    """Return one CRC-32 (uint32) for each started second of PCM bytes."""
    view = memoryview(pcm)
    return np.array([crc32(view[i : i + _SECOND_BYTES]) for i in range(0, len(pcm), _SECOND_BYTES)], np.uint32)


def index_path(shard: str) -> str:
    """Convert ``shards/train-000000.tar`` to ``shards/train-000000.index.parquet``."""
    return f"{shard.removesuffix('.tar')}.index.parquet"


def index_to_bytes(index: ShardIndex) -> bytes:
    """Serialise an index to Parquet bytes that depend on its content only."""
    bounds = np.append(index.crc_start, len(index.checksums))
    meta = {
        "num_bytes": index.num_bytes,
        "sha256": index.sha256,
        "plan_digest": index.plan_digest,
        "quarantined": index.quarantined,
        **({"notes": dict(index.notes)} if index.notes else {}),
    }
    table = pa.table(
        {
            "key": pa.array(index.keys, pa.string()),
            "order": pa.array(index.order, pa.int64()),
            "offset": pa.array(index.offset, pa.int64()),
            "num_samples": pa.array(index.num_samples, pa.int64()),
            "crc32": pa.array(index.crc32, pa.uint32()),
            "crc32_seconds": pa.ListArray.from_arrays(
                pa.array(bounds, pa.int32()), pa.array(index.checksums, pa.uint32())
            ),
        },
        metadata={_META: json.dumps(meta, sort_keys=True)},
    )
    sink = io.BytesIO()
    pq.write_table(table, sink, write_page_checksum=True)
    return sink.getvalue()


def index_from_bytes(data: bytes) -> ShardIndex:
    """Parse an index. Raises ValueError if the bytes are not a complete index."""
    try:
        table = table_of(data, "its table", _SCHEMA)
        meta = read_object((table.schema.metadata or {}).get(_META, b""), "its metadata")
        columns = {name: table[name].to_numpy() for name in ("order", "offset", "num_samples", "crc32")}
        index = ShardIndex(
            keys=table["key"].to_pylist(),
            **columns,
            checksums=table["crc32_seconds"].combine_chunks().flatten().to_numpy(),
            num_bytes=int(meta["num_bytes"]),
            sha256=str(meta["sha256"]),
            plan_digest=str(meta["plan_digest"]),
            quarantined={str(key): str(reason) for key, reason in meta["quarantined"].items()},
            notes={str(key): tuple(map(str, notes)) for key, notes in meta.get("notes", {}).items()},
            file_sha256=hashlib.sha256(data).hexdigest(),
        )
        if (index.num_samples < 0).any() or num_seconds(index.num_samples).sum() != len(index.checksums):
            raise ValueError("it has not one checksum for each second")
        return index
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a shard index: {error}") from None
