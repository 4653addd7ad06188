"""Shards against the manifest: what is missing, left over, cut short or altered, down to the second of a song."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np

from genrescale.audio import PCM_DTYPE, SAMPLE_BYTES
from genrescale.data.index import index_path, num_seconds, second_checksums
from genrescale.data.manifest import Manifest, content_version
from genrescale.data.store import Store

_CHUNK_BYTES = 16 << 20


def verify_manifest(manifest: Manifest) -> list[str]:
    """Problems of the manifest itself and of the list of files; reads no shard."""
    problems = []
    version = content_version(manifest.songs, manifest.labels_NK, manifest.vocabulary)
    if version != manifest.version:
        problems.append(f"the manifest says version {manifest.version}, its content is {version}")
    if len(set(manifest.songs["key"].to_pylist())) != len(manifest):
        problems.append("the manifest holds a key more than once")
    counts = np.bincount(manifest.column("shard"), minlength=manifest.shards.num_rows)
    for shard, num_songs in enumerate(manifest.shards["num_songs"].to_pylist()):
        if counts[shard] != num_songs:
            problems.append(f"{manifest.shard_name(shard)}: {counts[shard]} songs in the manifest, not {num_songs}")
    expected = {path for name in manifest.shards["name"].to_pylist() for path in (name, index_path(name))}
    found = set(Store(manifest.uri).list("shards"))
    problems += [f"{path}: missing" for path in sorted(expected - found)]
    problems += [f"{path}: extra, not in the manifest" for path in sorted(found - expected)]
    return problems


def verify_shard(store: Store, manifest: Manifest, shard: int, deep: bool = True) -> list[str]:
    """Problems of one shard and its index; none where both are what was written.

    ``deep`` reads every byte, and where they are not those of the manifest says which songs and seconds are altered;
    otherwise only sizes and the index are looked at.
    """
    path, num_bytes = manifest.shard_name(shard), manifest.shards["num_bytes"][shard].as_py()
    problems, checksums = [], None
    try:
        checksums = manifest.checksums(shard)
    except FileNotFoundError:
        problems.append(f"{index_path(path)}: missing")
    except ValueError as error:
        problems.append(f"{index_path(path)}: {error}")
    if not store.exists(path):
        return [*problems, f"{path}: missing"]
    size = store.size(path)
    if size != num_bytes:
        word = "truncated" if size < num_bytes else "too long"
        problems.append(f"{path}: {word}, {size} bytes instead of {num_bytes}")
    if deep and _sha256(store, path, size) != manifest.shards["sha256"][shard].as_py():
        altered = _altered_songs(store, manifest, shard, checksums)
        problems += altered or [f"{path}: SHA-256 differs, outside of the audio (a tar header or a .json member)"]
    return problems


def _sha256(store: Store, path: str, size: int) -> str:
    digest = hashlib.sha256()
    for offset in range(0, size, _CHUNK_BYTES):
        digest.update(store.read_range(path, offset, _CHUNK_BYTES))
    return digest.hexdigest()


def _altered_songs(store: Store, manifest: Manifest, shard: int, checksums: np.ndarray | None) -> list[str]:
    path, problems = manifest.shard_name(shard), []
    rows = manifest.shard_rows(shard)
    columns = [manifest.column(name)[rows].tolist() for name in ("key", "offset", "num_samples", "crc32", "crc_start")]
    for key, offset, num_samples, crc32, crc_start in zip(*columns, strict=True):
        data = store.read_range(path, offset, num_samples * SAMPLE_BYTES)
        if len(data) < num_samples * SAMPLE_BYTES:
            problems.append(f"{path}: song {key} is cut off, {len(data)} of {num_samples * SAMPLE_BYTES} bytes")
        elif zlib.crc32(data) != crc32:
            where = ""
            if checksums is not None:
                expected = checksums[crc_start : crc_start + int(num_seconds(np.array(num_samples)))]
                seconds = np.flatnonzero(second_checksums(np.frombuffer(data, PCM_DTYPE)) != expected)
                where = f" at second {', '.join(map(str, seconds[:5].tolist()))}"
            problems.append(f"{path}: song {key} is altered{where}")
    return problems
