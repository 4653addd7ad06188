"""Crops: verified audio read straight out of the shards by manifest offset. No Ray: a stream calls this in its tasks.

Shapes: N songs of a table, n clips of a group, T samples of a crop, K tags.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa

from genrescale.audio import PCM_DTYPE, SAMPLE_BYTES, SAMPLE_RATE
from genrescale.data.manifest import Manifest
from genrescale.data.plan import Crops, GroupId, Kind, RunPlan, ScorePlan
from genrescale.data.store import Store


class DamagedShardError(ValueError):
    """What a shard holds is not what the manifest says."""


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
    def of(cls, manifest: Manifest, rows: np.ndarray, labels_NK: np.ndarray | None = None) -> SongTable:
        """The songs in ``rows`` of the manifest; ``labels_NK`` replaces their labels (for a shuffled control)."""
        songs = manifest.songs.take(pa.array(rows))
        column = {name: np.asarray(songs[name]) for name in ("shard", "offset", "num_samples", "crc_start")}
        shards = np.unique(column["shard"])
        checksums = [manifest.checksums(int(shard)) for shard in shards]
        base = np.concatenate([[0], np.cumsum([len(crcs) for crcs in checksums])])
        return cls(
            store=Store(manifest.uri),
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


@dataclass(frozen=True, eq=False)
class CropGroup:
    """One group as a worker trains on it: ``wave_nT`` int16, ``labels_nK`` float32, ``songs_n`` rows of its table."""

    id: GroupId
    songs_n: np.ndarray
    wave_nT: np.ndarray
    labels_nK: np.ndarray

    def __len__(self) -> int:
        return len(self.songs_n)


@lru_cache(maxsize=64)
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


def _read_spans(table: SongTable, spans: Sequence[_Span]) -> list[memoryview]:
    """The bytes of every span; those of a bucket are fetched at the same time."""
    if table.store.local_path() is None:
        try:
            ranges = [(span.name, span.offset, span.num_bytes) for span in spans]
            return [memoryview(data) for data in table.store.read_ranges(ranges)]
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
    second_bytes, first_s = SAMPLE_RATE * SAMPLE_BYTES, span.low // SAMPLE_RATE
    for i, begin in enumerate(range(0, len(data), second_bytes)):
        if zlib.crc32(data[begin : begin + second_bytes]) != table.crc32[table.crc_N[span.song] + first_s + i]:
            raise DamagedShardError(
                f"shard {span.name} of {table.store.uri}: second {first_s + i} of song {key} does not match "
                f"its checksum; run jobs/verify_corpus.py corpus={table.store.uri}"
            )


def read_crops(table: SongTable, songs_n: np.ndarray, starts_n: np.ndarray, crop_len: int) -> np.ndarray:
    """The crops of ``songs_n`` from samples ``starts_n``: int16 (n, T), padded with silence at a song's end.

    A read widens to whole seconds and each is checked. Raises DamagedShardError that names shard, song and second.
    """
    starts = starts_n.tolist()
    spans = [_span(table, song, start, crop_len) for song, start in zip(songs_n.tolist(), starts, strict=True)]
    wave_nT = np.zeros((len(spans), crop_len), PCM_DTYPE)
    for clip_T, span, start, data in zip(wave_nT, spans, starts, _read_spans(table, spans), strict=True):
        _verify(table, span, data)
        pcm = np.frombuffer(data, PCM_DTYPE)[start - span.low :][:crop_len]
        clip_T[: len(pcm)] = pcm
    return wave_nT


@dataclass(frozen=True, eq=False)
class StreamSource:
    """The songs of each kind and the plans over them: all that reading a run's groups needs."""

    tables: dict[Kind, SongTable]
    plan: RunPlan
    test: ScorePlan

    @property
    def crop_len(self) -> int:
        return self.plan.train.crop_len

    def read(self, id: GroupId) -> tuple[Crops, np.ndarray]:
        crops = self.test.crops(id.step, id.group) if id.kind == "test" else self.plan.crops(id)
        return crops, read_crops(self.tables[id.kind], crops.songs_n, crops.starts_n, self.crop_len)

    def group(self, id: GroupId, songs_n: np.ndarray, wave_nT: np.ndarray) -> CropGroup:
        return CropGroup(id, songs_n, wave_nT, self.tables[id.kind].labels_NK[songs_n])


def local_stream(source: StreamSource, items: Iterable[GroupId]) -> Iterator[CropGroup]:
    """The same groups without Ray, read in this process: for tests and profiling."""
    for id in items:
        crops, wave_nT = source.read(id)
        yield source.group(id, crops.songs_n, wave_nT)
