"""Songs whose audio is the same, sample for sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from genrescale.audio import SPLITS
from genrescale.data.index import num_seconds
from genrescale.data.manifest import SONG_SCHEMA, Manifest


@dataclass(frozen=True)
class Duplicates:
    """Songs with one audio: their keys and, with the same place, their splits."""

    keys: tuple[str, ...]
    splits: tuple[str, ...]

    @property
    def across_splits(self) -> bool:
        return len(set(self.splits)) > 1

    def __str__(self) -> str:
        songs = ", ".join(f"{key} ({split})" for key, split in zip(self.keys, self.splits, strict=True))
        return f"{len(self.keys)} songs have the same audio: {songs}"


def exclusions(manifest: Manifest) -> list[str]:
    """For every song of a manifest the reason why nothing may use it, "" for most.

    Of songs with one audio in several splits only the copies in the split that judges most are used: test, else
    validation. So nothing is tested on what it was trained on, and official test sets stay whole.
    """
    reason_of: dict[str, str] = {}
    for copies in find_duplicates(manifest):
        judge = max(copies.splits, key=SPLITS.index)
        kept = copies.keys[copies.splits.index(judge)]
        for key, split in zip(copies.keys, copies.splits, strict=True):
            if split != judge:
                reason_of[key] = f"the same audio as {kept} in {judge}"
    return [reason_of.get(key, "") for key in manifest.songs["key"].to_pylist()]


def with_exclusions(manifest: Manifest) -> Manifest:
    """The manifest, not written, with its column ``excluded`` as ``exclusions`` says."""
    place = SONG_SCHEMA.get_field_index("excluded")
    column = pa.array(exclusions(manifest), pa.string())
    return replace(manifest, songs=manifest.songs.set_column(place, SONG_SCHEMA.field(place), column))


def find_duplicates(manifest: Manifest) -> list[Duplicates]:
    """Groups of songs with the same PCM, in the order of the manifest.

    Candidates have the same length and CRC-32. Among a million songs of one length about a hundred pairs of different
    songs have, too; so the checksums of every second decide, where their indexes can be read.
    """
    length_N, crc_N = manifest.column("num_samples"), manifest.column("crc32")
    order = np.lexsort((np.arange(len(manifest)), crc_N, length_N))
    new = np.r_[True, (np.diff(length_N[order]) != 0) | (np.diff(crc_N[order].astype(np.int64)) != 0)]
    starts = np.flatnonzero(new[: len(order)])
    groups = [group for group in np.split(order, starts[1:]) if len(group) > 1]
    indexes: dict[int, np.ndarray | None] = {}
    found: list[list[int]] = []
    for group in groups:
        same: dict[bytes, list[int]] = {}
        for row in group.tolist():
            same.setdefault(_seconds(manifest, row, indexes), []).append(row)
        found += _merged(same)
    keys, splits = manifest.songs["key"], manifest.songs["split"]
    return [
        Duplicates(tuple(keys[row].as_py() for row in rows), tuple(splits[row].as_py() for row in rows))
        for rows in sorted(found)
    ]


def _merged(same: dict[bytes, list[int]]) -> list[list[int]]:
    unknown = same.pop(b"", [])  # of shards without a readable index: their length and CRC-32 are all there is
    if unknown:
        return [sorted([*unknown, *(row for rows in same.values() for row in rows)])]
    return [rows for rows in same.values() if len(rows) > 1]


def _seconds(manifest: Manifest, row: int, indexes: dict[int, np.ndarray | None]) -> bytes:
    """A song's checksums of every second; empty where its index cannot be read. ``indexes`` keeps those read."""
    shard = manifest.songs["shard"][row].as_py()
    if shard not in indexes:
        try:
            indexes[shard] = manifest.checksums(shard)
        except (FileNotFoundError, ValueError):
            indexes[shard] = None
    checksums = indexes[shard]
    start, length = manifest.songs["crc_start"][row].as_py(), manifest.songs["num_samples"][row].as_py()
    return b"" if checksums is None else checksums[start : start + int(num_seconds(np.array(length)))].tobytes()
