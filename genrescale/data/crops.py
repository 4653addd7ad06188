"""Crops: verified audio read straight out of the shards by manifest offset. No Ray: a stream calls this in its tasks.

Shapes: N songs of a table, n clips of a group, T samples of a crop, K tags.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa

from genrescale.audio import PCM_DTYPE, SAMPLE_BYTES, SAMPLE_RATE
from genrescale.data.index import crc32
from genrescale.data.manifest import Manifest
from genrescale.data.retry import PATIENCE, Patience
from genrescale.data.store import Store

_INDEXES_AT_ONCE = 16
_SECOND_BYTES = SAMPLE_RATE * SAMPLE_BYTES


class DamagedShardError(ValueError):
    """What a shard holds is not what the manifest says."""


@dataclass
class ReadStats:
    """What reading some crops took.

    ``fetch_s`` is the wait for a bucket; the pages of a local file are fetched while they are verified.
    """

    fetch_s: float = 0.0
    verify_s: float = 0.0
    copy_s: float = 0.0
    num_bytes: int = 0  # fetched: crops widened to whole seconds
    retries: int = 0  # reads of a range that failed and were tried again


@dataclass(frozen=True, eq=False)
class SongTable:
    """What reading needs to know of N selected songs, as arrays that Ray shares between processes.

    ``offset_N`` is where a song's PCM starts in its shard (bytes), ``crc_N`` where its checksums start in ``crc32``.
    """

    store: Store
    shard_names: tuple[str, ...]
    keys: pa.Array
    shard_N: np.ndarray
    offset_N: np.ndarray
    len_N: np.ndarray
    crc_N: np.ndarray
    crc32: np.ndarray
    labels_NK: np.ndarray

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        rows: np.ndarray,
        labels_NK: np.ndarray | None = None,
        patience: Patience = PATIENCE,
    ) -> SongTable:
        """The songs in ``rows`` of the manifest; ``labels_NK`` replaces their labels (for a shuffled control)."""
        songs = manifest.songs.take(pa.array(rows))
        column = {name: np.asarray(songs[name]) for name in ("shard", "offset", "num_samples", "crc_start")}
        shards = np.unique(column["shard"])
        with ThreadPoolExecutor(_INDEXES_AT_ONCE) as pool:
            checksums = list(pool.map(manifest.checksums, shards.tolist()))
        base = np.concatenate([[0], np.cumsum([len(crcs) for crcs in checksums])])
        return cls(
            store=Store(manifest.uri, patience),
            shard_names=tuple(manifest.shards["name"].to_pylist()),
            keys=songs["key"].combine_chunks(),
            shard_N=column["shard"],
            offset_N=column["offset"],
            len_N=column["num_samples"],
            crc_N=base[np.searchsorted(shards, column["shard"])] + column["crc_start"],
            crc32=np.concatenate(checksums),
            labels_NK=manifest.labels_NK[rows] if labels_NK is None else labels_NK,
        )

    def __len__(self) -> int:
        return len(self.len_N)


@lru_cache(maxsize=256)  # each holds a file descriptor
def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


@dataclass(frozen=True)
class _Span:
    """The whole seconds of a song that a crop touches: samples ``low`` to ``high`` of ``song``, in shard ``name``."""

    song: int
    name: str
    low: int
    high: int
    offset: int  # bytes from the start of the shard

    @property
    def num_bytes(self) -> int:
        return (self.high - self.low) * SAMPLE_BYTES


def _span(table: SongTable, song: int, start: int, crop_len: int) -> _Span:
    length = int(table.len_N[song])
    low = start // SAMPLE_RATE * SAMPLE_RATE
    high = min(-(-(start + crop_len) // SAMPLE_RATE) * SAMPLE_RATE, length)
    name = table.shard_names[table.shard_N[song]]
    return _Span(song, name, low, high, int(table.offset_N[song]) + low * SAMPLE_BYTES)


def _read_spans(table: SongTable, spans: Sequence[_Span], stats: ReadStats) -> list[memoryview]:
    """The bytes of every span; those of a bucket are fetched at the same time."""

    def count_retry(error: BaseException) -> None:
        stats.retries += 1

    if table.store.local_path() is None:
        try:
            ranges = [(span.name, span.offset, span.num_bytes) for span in spans]
            return [memoryview(data) for data in table.store.read_ranges(ranges, count_retry)]
        except FileNotFoundError:
            name = next((span.name for span in spans if not table.store.exists(span.name)), spans[0].name)
            raise _unreadable(table, name, "it does not exist") from None
    return [_mapped_bytes(table, span) for span in spans]


def _mapped_bytes(table: SongTable, span: _Span) -> memoryview:
    local = table.store.local_path(span.name)
    try:
        return memoryview(_mapped(cast(Path, local)))[span.offset : span.offset + span.num_bytes]
    except (FileNotFoundError, ValueError) as error:  # mmap refuses an empty file with a ValueError
        raise _unreadable(table, span.name, str(error)) from None


def _unreadable(table: SongTable, name: str, reason: str) -> DamagedShardError:
    return DamagedShardError(
        f"shard {name} of {table.store.uri} cannot be read ({reason}); "
        f"run jobs/verify_corpus.py corpus={table.store.uri}, or jobs/shard_corpus.py again"
    )


def _verify(table: SongTable, span: _Span, data: memoryview) -> None:
    """Raises DamagedShardError that names shard, song and second where ``data`` is not what was written."""
    key = table.keys[span.song]
    if len(data) < span.num_bytes:
        raise DamagedShardError(
            f"shard {span.name} of {table.store.uri} is truncated: song {key} needs bytes {span.offset} to "
            f"{span.offset + span.num_bytes}, the file ends at {span.offset + len(data)}; "
            "run jobs/shard_corpus.py again"
        )
    first_s = span.low // SAMPLE_RATE
    first_crc = int(table.crc_N[span.song]) + first_s
    expected = table.crc32[first_crc : first_crc + -(-len(data) // _SECOND_BYTES)].tolist()
    for i, begin in enumerate(range(0, len(data), _SECOND_BYTES)):
        if (found := crc32(data[begin : begin + _SECOND_BYTES])) != expected[i]:
            raise DamagedShardError(
                f"shard {span.name} of {table.store.uri}: second {first_s + i} of song {key} does not match "
                f"its checksum ({found:08x}, not {expected[i]:08x}); "
                f"run jobs/verify_corpus.py corpus={table.store.uri}"
            )


def read_crops(
    table: SongTable,
    songs_n: np.ndarray,
    starts_n: np.ndarray,
    crop_len: int,
    *,
    out_nT: np.ndarray | None = None,
    stats: ReadStats | None = None,
) -> np.ndarray:
    """The crops of ``songs_n`` from samples ``starts_n``: int16 (n, T), padded with silence at a song's end.

    They are written to ``out_nT`` where it is given, and what it took is added to ``stats``. A read widens to whole
    seconds and each is checked. Raises DamagedShardError that names shard, song and second.
    """
    stats, clock = stats or ReadStats(), time.perf_counter
    starts = starts_n.tolist()
    spans = [_span(table, song, start, crop_len) for song, start in zip(songs_n.tolist(), starts, strict=True)]
    wave_nT = np.empty((len(spans), crop_len), PCM_DTYPE) if out_nT is None else out_nT
    began = clock()
    found = _read_spans(table, spans, stats)
    stats.fetch_s += clock() - began
    for clip_T, span, start, data in zip(wave_nT, spans, starts, found, strict=True):
        began = clock()
        _verify(table, span, data)
        verified = clock()
        pcm = np.frombuffer(data, PCM_DTYPE)[start - span.low :][:crop_len]
        clip_T[: len(pcm)] = pcm
        clip_T[len(pcm) :] = 0
        stats.verify_s += verified - began
        stats.copy_s += clock() - verified
        stats.num_bytes += span.num_bytes
    return wave_nT
