"""Crops: verified audio read straight out of the shards by manifest offset. No Ray: a stream calls this in its tasks.

Shapes: N songs of a table, n clips of a group, T samples of a crop, K tags.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

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


def _shard_bytes(table: SongTable, song: int, offset: int, length: int) -> memoryview:
    """``length`` bytes of a song's shard from ``offset``. Raises DamagedShardError if it is missing or ends before."""
    name = table.shard_names[table.shard_N[song]]
    local = table.store.local_path(name)
    try:
        if local is None:
            data = memoryview(table.store.read_range(name, offset, length))
        else:
            data = memoryview(_mapped(local))[offset : offset + length]
    except (FileNotFoundError, ValueError) as error:  # mmap refuses an empty file with a ValueError
        raise DamagedShardError(
            f"shard {name} of {table.store.uri} cannot be read ({error}); "
            f"run jobs/verify_corpus.py corpus={table.store.uri}, or jobs/shard_corpus.py again"
        ) from None
    if len(data) < length:
        raise DamagedShardError(
            f"shard {name} of {table.store.uri} is truncated: song {table.keys[song]} needs bytes {offset} to "
            f"{offset + length}, the file ends at {offset + len(data)}; run jobs/shard_corpus.py again"
        )
    return data


def read_crop(table: SongTable, song: int, start: int, out_T: np.ndarray) -> None:
    """Copy the crop of ``song`` from sample ``start`` into ``out_T`` (int16), padding with silence at the song's end.

    The read widens to whole seconds and each is checked. Raises DamagedShardError that names shard, song and second.
    """
    stop = min(start + len(out_T), int(table.len_N[song]))
    first_s = start // SAMPLE_RATE
    low = first_s * SAMPLE_RATE
    high = min(-(-stop // SAMPLE_RATE) * SAMPLE_RATE, int(table.len_N[song]))
    offset = int(table.offset_N[song]) + low * SAMPLE_BYTES
    data = _shard_bytes(table, song, offset, (high - low) * SAMPLE_BYTES)
    second_bytes = SAMPLE_RATE * SAMPLE_BYTES
    for i, begin in enumerate(range(0, len(data), second_bytes)):
        if zlib.crc32(data[begin : begin + second_bytes]) != table.crc32[table.crc_N[song] + first_s + i]:
            name = table.shard_names[table.shard_N[song]]
            raise DamagedShardError(
                f"shard {name} of {table.store.uri}: second {first_s + i} of song {table.keys[song]} does not match "
                f"its checksum; run jobs/verify_corpus.py corpus={table.store.uri}"
            )
    pcm = np.frombuffer(data, PCM_DTYPE)[start - low : stop - low]
    out_T[: len(pcm)] = pcm
    out_T[len(pcm) :] = 0


def read_crops(table: SongTable, crops: Crops, crop_len: int) -> np.ndarray:
    """The verified crops of one group: int16 (n, T)."""
    wave_nT = np.empty((len(crops), crop_len), PCM_DTYPE)
    for clip_T, song, start in zip(wave_nT, crops.songs_n.tolist(), crops.starts_n.tolist(), strict=True):
        read_crop(table, song, start, clip_T)
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
        return crops, read_crops(self.tables[id.kind], crops, self.crop_len)

    def group(self, id: GroupId, songs_n: np.ndarray, wave_nT: np.ndarray) -> CropGroup:
        return CropGroup(id, songs_n, wave_nT, self.tables[id.kind].labels_NK[songs_n])


def local_stream(source: StreamSource, items: Iterable[GroupId]) -> Iterator[CropGroup]:
    """The same groups without Ray, read in this process: for tests and profiling."""
    for id in items:
        crops, wave_nT = source.read(id)
        yield source.group(id, crops.songs_n, wave_nT)
