"""Crops: verified audio read straight out of the shards by manifest offset. No Ray: a stream calls this in its tasks.

Shapes: N songs of a table, n clips of a group, T samples of a crop, K tags.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from genrescale.audio import PCM_DTYPE, SAMPLE_BYTES, SAMPLE_RATE
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
    """What reading needs to know of N selected songs, as arrays that Ray shares between processes.

    ``offset_N`` is where a song's PCM starts in its shard (bytes), ``crc_N`` where its checksums start in ``crc32``.
    ``part_N`` is the corpus of a mix that a song came from. With a ``cache``, shards of a bucket are fetched whole.
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
        """The songs in ``rows`` of the manifest; ``labels_NK`` replaces their labels (for a shuffled control)."""
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
    high = min(-(-(start + crop_len) // SAMPLE_RATE) * SAMPLE_RATE, length)
    store, name = located(table.store, table.shard_names[table.shard_N[song]])
    return Span(song, store, name, low, high, int(table.offset_N[song]) + low * SAMPLE_BYTES)


def _verify(table: SongTable, span: Span, data: memoryview) -> None:
    """Raises DamagedShardError that names shard, song and second where ``data`` is not what was written."""
    key = table.keys[span.song]
    if len(data) < span.num_bytes:
        raise DamagedShardError(
            f"shard {span.name} of {span.store.uri} is truncated: song {key} needs bytes {span.offset} to "
            f"{span.offset + span.num_bytes}, the file ends at {span.offset + len(data)}; "
            "run jobs/shard_corpus.py again"
        )
    first_s = span.low // SAMPLE_RATE
    first_crc = int(table.crc_N[span.song]) + first_s
    expected = table.crc32[first_crc : first_crc + -(-len(data) // _SECOND_BYTES)].tolist()
    for i, begin in enumerate(range(0, len(data), _SECOND_BYTES)):
        due = expected[i] if i < len(expected) else None
        if (found := crc32(data[begin : begin + _SECOND_BYTES])) != due:
            raise DamagedShardError(
                f"shard {span.name} of {span.store.uri}: second {first_s + i} of song {key} does not match "
                f"its checksum ({found:08x}, not {'any' if due is None else format(due, '08x')}); "
                f"run jobs/verify_corpus.py corpus={span.store.uri}"
            )


def _read_anew(table: SongTable, span: Span, cache: ShardCache, stats: ReadStats) -> memoryview:
    """Verified bytes of a span whose copy was damaged, or older than a takedown. Raises DamagedShardError."""
    data = read_spans([span], cache, stats)[0]  # it may have been fetched anew for a span before
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
    """The crops of ``songs_n`` from samples ``starts_n``: int16 (n, T), padded with silence at a song's end.

    They are written to ``out_nT`` where it is given, and what it took is added to ``stats``. A read widens to whole
    seconds and each is checked. Raises DamagedShardError that names shard, song and second.
    """
    stats, clock = stats or ReadStats(), time.perf_counter
    starts = starts_n.tolist()
    spans = [_span(table, song, start, crop_len) for song, start in zip(songs_n.tolist(), starts, strict=True)]
    wave_nT = np.empty((len(spans), crop_len), PCM_DTYPE) if out_nT is None else out_nT
    began = clock()
    found = read_spans(spans, table.cache, stats)
    stats.fetch_s += clock() - began
    for clip_T, span, start, data in zip(wave_nT, spans, starts, found, strict=True):
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
        stats.num_bytes += span.num_bytes
    return wave_nT
