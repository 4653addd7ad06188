"""The checksums of every second of a corpus's songs, as one file beside the manifest's tables.

A run reads this file instead of the index of every shard that it trains on, which are thousands for a million songs.
Older corpora do not have it; for them the indexes are read.

Shapes: N songs of a manifest, n selected songs, S seconds.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np

from genrescale.data.index import num_seconds
from genrescale.data.manifest import PARTS, Manifest, located, read_shards
from genrescale.storage.store import Store

_INDEXES_AT_ONCE = 16


def song_checksums(manifest: Manifest, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the checksums (S,) uint32 of the songs in ``rows``, and the index of each song's first one (n,).

    Raises ValueError if they do not match the manifest, and for a mix one of whose corpora has changed.
    """
    if manifest.checksums_file is None:
        return _of_indexes(manifest, rows)
    _check_parts(manifest, rows)
    crc32 = _whole_file(manifest.uri, *manifest.checksums_file)
    counts_N = num_seconds(manifest.column("num_samples"))
    if counts_N.sum() != len(crc32):
        raise ValueError(f"{manifest.uri}/{manifest.checksums_file[0]} does not belong to the songs of the manifest")
    chosen_N = np.zeros(len(counts_N), bool)
    chosen_N[rows] = True
    starts_N = _starts(np.where(chosen_N, counts_N, 0))
    return crc32[np.repeat(chosen_N, counts_N)], starts_N[rows]


def gather_checksums(manifest: Manifest, rows: np.ndarray) -> np.ndarray:
    """Return the checksums of the songs in ``rows``, concatenated in that order."""
    crc32, start_n = song_checksums(manifest, rows)
    counts_n = num_seconds(manifest.column("num_samples")[rows])
    return crc32[np.repeat(start_n - _starts(counts_n), counts_n) + np.arange(counts_n.sum())]


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts) - counts


@lru_cache(maxsize=1)  # one file covers the songs of all splits
def _whole_file(uri: str, path: str, sha256: str) -> np.ndarray:
    store = Store(uri)
    if not store.exists(path):
        raise ValueError(f"{uri}/{path} is missing; run jobs/shard_corpus.py again with the same settings")
    data = store.read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{uri}/{path} is damaged: its SHA-256 is not the manifest's")
    try:
        return _checksums_of(data)
    except ValueError as error:
        raise ValueError(f"{uri}/{path} holds no checksums: {error}") from None


def _checksums_of(data: bytes) -> np.ndarray:
    """The one uint32 array of an .npy file. Its header is read first: numpy makes room for whatever that says."""
    file = io.BytesIO(data)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("it has another version of numpy's format")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    crc32 = np.frombuffer(data, np.uint8, offset=file.tell())
    if dtype != np.dtype("<u4") or shape != (len(crc32) // 4,) or len(crc32) % 4:
        raise ValueError(f"an array {shape} of {dtype}, in {len(crc32)} bytes")
    return crc32.view("<u4")


def _of_indexes(manifest: Manifest, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    column = {name: manifest.column(name)[rows] for name in ("shard", "crc_start")}
    shards = np.unique(column["shard"])
    with ThreadPoolExecutor(_INDEXES_AT_ONCE) as pool:
        checksums = list(pool.map(manifest.checksums, shards.tolist()))
    base = np.concatenate([[0], np.cumsum([len(crcs) for crcs in checksums])])
    return np.concatenate(checksums), base[np.searchsorted(shards, column["shard"])] + column["crc_start"]


def _check_parts(manifest: Manifest, rows: np.ndarray) -> None:
    """Raise ValueError if a shard of a mix differs from its corpus's current one (a takedown rewrites shards)."""
    if PARTS not in manifest.settings:
        return
    used = manifest.shards.take(np.unique(manifest.column("shard")[rows]))
    hashes_of = {part["uri"]: _shard_hashes(part["uri"]) for part in manifest.settings[PARTS]}
    for name, sha256 in zip(used["name"].to_pylist(), used["sha256"].to_pylist(), strict=True):
        store, path = located(Store(manifest.uri), name)
        if hashes_of[store.uri].get(path) != sha256:
            raise ValueError(
                f"{name} has changed in its corpus since the mix was made: mix again with jobs/mix_corpora.py"
            )


def _shard_hashes(uri: str) -> Mapping[str, str]:
    shards = read_shards(uri)
    return dict(zip(shards["name"].to_pylist(), shards["sha256"].to_pylist(), strict=True))
