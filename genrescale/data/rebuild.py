"""The index of a shard, recomputed from its tar."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from genrescale.audio import SAMPLE_BYTES
from genrescale.data.index import ShardIndex, crc32, index_path, index_to_bytes, second_checksums
from genrescale.data.manifest import Manifest
from genrescale.data.members import scan_shard
from genrescale.data.plan_file import read_plan
from genrescale.data.quarantine import QUARANTINE_PATH, read_quarantine
from genrescale.data.shard_plan import PLAN_PATH
from genrescale.data.store import Store
from genrescale.data.verify import Problem, Remedy, verify_shard


def rebuild_index(store: Store, manifest: Manifest, shard: int) -> str:
    """Write the index of an intact shard anew; returns its SHA-256.

    The bytes are those of the lost index where plan and quarantine still lie beside the shards and pyarrow is the
    version that wrote it. Otherwise the manifest needs the new SHA-256 (``with_indexes``). Raises ValueError, with
    nothing written, where the tar is not the one that the manifest knows.
    """
    path = manifest.shard_name(shard)
    if not store.exists(path):
        raise ValueError("it is missing: its index cannot be rebuilt")
    scan = scan_shard(store, path)
    if scan.sha256 != manifest.shards["sha256"][shard].as_py():
        raise ValueError("it is not what was written: its index cannot be rebuilt")
    rows = manifest.shard_rows(shard)
    row_of = {manifest.songs["key"][row].as_py(): row for row in rows.tolist()}
    pcm = [store.read_range(path, song.offset, song.num_bytes) for song in scan.songs]
    digest, quarantined = _of_plan(store, manifest, shard)
    index = ShardIndex(
        keys=[song.key for song in scan.songs],
        order=manifest.column("order")[[row_of[song.key] for song in scan.songs]],
        offset=np.array([song.offset for song in scan.songs], np.int64),
        num_samples=np.array([song.num_bytes // SAMPLE_BYTES for song in scan.songs], np.int64),
        crc32=np.array([crc32(data) for data in pcm], np.uint32),
        checksums=np.concatenate([np.empty(0, np.uint32), *(second_checksums(data) for data in pcm)]),
        num_bytes=manifest.shards["num_bytes"][shard].as_py(),
        sha256=scan.sha256,
        plan_digest=digest,
        quarantined=quarantined,
    )
    data = index_to_bytes(index)
    store.write_bytes(index_path(path), data)
    return hashlib.sha256(data).hexdigest()


def _of_plan(store: Store, manifest: Manifest, shard: int) -> tuple[str, dict[str, str]]:
    """The plan digest of a shard and its quarantined songs (key -> reason).

    Without the plan the digest is empty: jobs/shard_corpus.py would then make the shard again, to the same bytes.
    """
    if not store.exists(QUARANTINE_PATH) or not store.exists(PLAN_PATH):
        return "", {}
    plan = read_plan(store)
    rows = next(rows for name, _, rows in plan.shards() if name == manifest.shard_name(shard))
    here = {song.key for song in plan.songs[rows]}
    return plan.digest(rows), {song.key: song.reason for song in read_quarantine(store) if song.key in here}


@dataclass(frozen=True)
class ShardCheck:
    """Row ``shard`` of a corpus' shards to be checked; ``alone`` is the manifest of that shard."""

    shard: int
    alone: Manifest
    deep: bool
    rebuild: bool


@dataclass(frozen=True)
class CheckedShard:
    """``index_sha256`` is that of an index written anew, "" where none was."""

    shard: int
    problems: list[Problem]
    index_sha256: str = ""


def check_shard(check: ShardCheck) -> CheckedShard:
    """``verify_shard``, after which ``rebuild`` recomputes an index that is missing or damaged where its tar allows."""
    store = Store(check.alone.uri)
    problems = verify_shard(store, check.alone, 0, check.deep)
    of_index = [problem for problem in problems if problem.remedy is Remedy.INDEX]
    if not check.rebuild or not of_index:
        return CheckedShard(check.shard, problems)
    try:
        sha256 = rebuild_index(store, check.alone, 0)
    except ValueError as error:
        return CheckedShard(check.shard, [*problems, Problem(check.alone.shard_name(0), str(error), Remedy.SHARD)])
    return CheckedShard(check.shard, [problem for problem in problems if problem not in of_index], sha256)
