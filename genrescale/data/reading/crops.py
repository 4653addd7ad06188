"""Read crops from the shards by manifest offset, and verify their checksums. No Ray: the stream's tasks call this.

Shapes: N songs of a table, n clips of a group, T samples of a crop, K tags.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from genrescale.audio import PCM_DTYPE, SAMPLE_BYTES, SAMPLE_RATE
from genrescale.config.numbers import ceil_div
from genrescale.data.checksums import song_checksums
from genrescale.data.index import crc32
from genrescale.data.manifest import Manifest, located
from genrescale.data.reading.shard_cache import ShardCache
from genrescale.data.reading.spans import DamagedShardError, ReadStats, Span, read_spans
from genrescale.storage.retry import PATIENCE, Patience
from genrescale.storage.store import Store

_SECOND_BYTES = SAMPLE_RATE * SAMPLE_BYTES


@dataclass(frozen=True, eq=False)
class SongTable:
    """What is needed to read N selected songs, as arrays that Ray shares between processes.

    ``offset_N`` is the byte offset of a song's PCM in its shard, ``crc_N`` the index of its first checksum in
    ``crc32``. ``part_N`` is the corpus of a mix that a song came from. With a ``cache``, shards of a bucket are fetched
    whole.
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
    part_N: np.ndarray
    cache: ShardCache | None = None

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        rows: np.ndarray,
        labels_NK: np.ndarray | None = None,
        patience: Patience = PATIENCE,
        cache: ShardCache | None = None,
    ) -> SongTable:
        """Make the table of the songs in ``rows`` of the manifest.

        ``labels_NK`` replaces their labels (for the control with shuffled labels).
        """
        songs = manifest.songs.select(["key", "shard", "offset", "num_samples"]).take(pa.array(rows))
        checksums, crc_N = song_checksums(manifest, rows)
        return cls(
            store=Store(manifest.uri, patience),
            shard_names=tuple(manifest.shards["name"].to_pylist()),
            keys=songs["key"].combine_chunks(),
            shard_N=np.asarray(songs["shard"]),
            offset_N=np.asarray(songs["offset"]),
            len_N=np.asarray(songs["num_samples"]),
            crc_N=crc_N,
            crc32=checksums,
            labels_NK=manifest.labels_NK[rows] if labels_NK is None else labels_NK,
            part_N=manifest.part_N()[rows],
            cache=cache,
        )

    def __len__(self) -> int:
        return len(self.len_N)


def _span(table: SongTable, song: int, start: int, crop_len: int) -> Span:
    length = int(table.len_N[song])
    low = start // SAMPLE_RATE * SAMPLE_RATE
    high = min(ceil_div(start + crop_len, SAMPLE_RATE) * SAMPLE_RATE, length)
    store, name = located(table.store, table.shard_names[table.shard_N[song]])
    return Span(song, store, name, low, high, int(table.offset_N[song]) + low * SAMPLE_BYTES)


def _verify(table: SongTable, span: Span, data: memoryview) -> None:
    """Raise DamagedShardError, naming shard, song and second, if ``data`` does not match its checksums."""
    key = table.keys[span.song]
    if len(data) < span.num_bytes:
        raise DamagedShardError(
            f"shard {span.name} of {span.store.uri} is truncated: song {key} needs bytes {span.offset} to "
            f"{span.offset + span.num_bytes}, the file ends at {span.offset + len(data)}; "
            "run jobs/shard_corpus.py again"
        )
    first_s = span.low // SAMPLE_RATE
    first_crc = int(table.crc_N[span.song]) + first_s
    expected = table.crc32[first_crc : first_crc + ceil_div(len(data), _SECOND_BYTES)].tolist()
    for i, begin in enumerate(range(0, len(data), _SECOND_BYTES)):
        due = expected[i] if i < len(expected) else None
        if (found := crc32(data[begin : begin + _SECOND_BYTES])) != due:
            raise DamagedShardError(
                f"shard {span.name} of {span.store.uri}: second {first_s + i} of song {key} does not match "
                f"its checksum ({found:08x}, not {'any' if due is None else format(due, '08x')}); "
                f"run jobs/verify_corpus.py corpus={span.store.uri}"
            )


def _read_anew(table: SongTable, span: Span, cache: ShardCache, stats: ReadStats) -> memoryview:
    """Read a span again whose cached copy is damaged or older than a takedown, and verify it.

    Raises DamagedShardError if the shard itself is damaged.
    """
    data = read_spans([span], cache, stats)[0]  # an earlier span may have refreshed the cache
    with suppress(DamagedShardError):
        _verify(table, span, data)
        return data
    cache.drop(span.store, span.name)
    data = read_spans([span], cache, stats)[0]
    _verify(table, span, data)
    return data


def read_crops(
    table: SongTable,
    songs_n: np.ndarray,
    starts_n: np.ndarray,
    crop_len: int,
    *,
    out_nT: np.ndarray | None = None,
    stats: ReadStats | None = None,
) -> np.ndarray:
    """Read the crops of ``songs_n`` from samples ``starts_n`` on: int16 (n, T), zero-padded beyond a song's end.

    Crops are written to ``out_nT`` if given; times and bytes are added to ``stats``. A read widens to whole seconds,
    and the checksum of each is verified. Raises DamagedShardError, naming shard, song and second.
    """
    stats, clock = stats or ReadStats(), time.perf_counter
    starts = starts_n.tolist()
    spans = [_span(table, song, start, crop_len) for song, start in zip(songs_n.tolist(), starts, strict=True)]
    wave_nT = np.empty((len(spans), crop_len), PCM_DTYPE) if out_nT is None else out_nT
    began = clock()
    buffers = read_spans(spans, table.cache, stats)
    stats.fetch_s += clock() - began
    for clip_T, span, start, data in zip(wave_nT, spans, starts, buffers, strict=True):
        began = clock()
        try:
            _verify(table, span, data)
        except DamagedShardError:
            if table.cache is None:
                raise
            data = _read_anew(table, span, table.cache, stats)
        verified = clock()
        pcm = np.frombuffer(data, PCM_DTYPE)[start - span.low :][:crop_len]
        clip_T[: len(pcm)] = pcm
        clip_T[len(pcm) :] = 0
        stats.verify_s += verified - began
        stats.copy_s += clock() - verified
        stats.bytes_fetched += span.num_bytes
    return wave_nT
