"""Find songs whose audio is identical, sample for sample."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from genrescale.audio import SPLITS
from genrescale.data.index import num_seconds
from genrescale.data.manifest import SONG_SCHEMA, Manifest


@dataclass(frozen=True)
class Duplicates:
    """Songs with the same audio: their keys and, in the same order, their splits."""

    keys: tuple[str, ...]
    splits: tuple[str, ...]

    @property
    def across_splits(self) -> bool:
        return len(set(self.splits)) > 1

    def __str__(self) -> str:
        songs = ", ".join(f"{key} ({split})" for key, split in zip(self.keys, self.splits, strict=True))
        return f"{len(self.keys)} songs have the same audio: {songs}"


def exclusions(manifest: Manifest) -> list[str]:
    """Return for every song of a manifest why it must not be used; "" for most.

    If copies of one recording are in several splits, only those in the most important split are used: test, else
    validation. So no model is tested on audio that it was trained on, and official test sets stay complete.
    """
    reason_of: dict[str, str] = {}
    for copies in find_duplicates(manifest):
        kept_split = max(copies.splits, key=SPLITS.index)
        kept = copies.keys[copies.splits.index(kept_split)]
        for key, split in zip(copies.keys, copies.splits, strict=True):
            if split != kept_split:
                reason_of[key] = f"the same audio as {kept} in {kept_split}"
    return [reason_of.get(key, "") for key in manifest.songs["key"].to_pylist()]


def with_exclusions(manifest: Manifest) -> Manifest:
    """Return the manifest with its column ``excluded`` set by ``exclusions``; nothing is written."""
    place = SONG_SCHEMA.get_field_index("excluded")
    column = pa.array(exclusions(manifest), pa.string())
    return replace(manifest, songs=manifest.songs.set_column(place, SONG_SCHEMA.field(place), column))


def find_duplicates(manifest: Manifest) -> list[Duplicates]:
    """Find groups of songs with the same PCM, in the order of the manifest.

    Candidates have the same length and CRC-32. Among a million songs of one length, about a hundred pairs of different
    songs match, too. So the checksums of every second decide, where the indexes can be read.
    """
    length_N, crc_N = manifest.column("num_samples"), manifest.column("crc32")
    order = np.lexsort((np.arange(len(manifest)), crc_N, length_N))
    new = np.r_[True, (np.diff(length_N[order]) != 0) | (np.diff(crc_N[order].astype(np.int64)) != 0)]
    starts = np.flatnonzero(new[: len(order)])
    groups = [group for group in np.split(order, starts[1:]) if len(group) > 1]
    indexes: dict[int, np.ndarray | None] = {}
    duplicates: list[list[int]] = []
    for group in groups:
        same: dict[bytes, list[int]] = {}
        for row in group.tolist():
            same.setdefault(_seconds(manifest, row, indexes), []).append(row)
        duplicates += _merged(same)
    keys, splits = manifest.songs["key"], manifest.songs["split"]
    return [
        Duplicates(tuple(keys[row].as_py() for row in rows), tuple(splits[row].as_py() for row in rows))
        for rows in sorted(duplicates)
    ]


def _merged(same: dict[bytes, list[int]]) -> list[list[int]]:
    unknown = same.pop(b"", [])  # shards without a readable index: only length and CRC-32 are known
    if unknown:
        return [sorted([*unknown, *(row for rows in same.values() for row in rows)])]
    return [rows for rows in same.values() if len(rows) > 1]


def _seconds(manifest: Manifest, row: int, indexes: dict[int, np.ndarray | None]) -> bytes:
    """Return a song's checksums of every second; empty if its index cannot be read. ``indexes`` is a cache."""
    shard = manifest.songs["shard"][row].as_py()
    if shard not in indexes:
        try:
            indexes[shard] = manifest.checksums(shard)
        except (FileNotFoundError, ValueError):
            indexes[shard] = None
    checksums = indexes[shard]
    start, length = manifest.songs["crc_start"][row].as_py(), manifest.songs["num_samples"][row].as_py()
    return b"" if checksums is None else checksums[start : start + int(num_seconds(np.array(length)))].tobytes()
