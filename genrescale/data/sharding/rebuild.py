"""Rebuild the index of a shard from its tar."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from genrescale.audio import SAMPLE_BYTES
from genrescale.data.index import ShardIndex, crc32, index_path, index_to_bytes, second_checksums
from genrescale.data.manifest import Manifest
from genrescale.data.quarantine import QUARANTINE_PATH, read_quarantine
from genrescale.data.sharding.plan import PLAN_PATH
from genrescale.data.sharding.plan_file import read_plan
from genrescale.data.sharding.scan import scan_shard
from genrescale.storage.store import Store


@dataclass(frozen=True)
class PlannedShard:
    """The parts of an index that come from the plan: the plan digest, and the quarantined songs (key -> reason).

    Without a plan the digest is empty, and jobs/shard_corpus.py would write the shard again, with the same bytes.
    """

    digest: str = ""
    quarantined: Mapping[str, str] = field(default_factory=dict)


def planned_shards(manifest: Manifest) -> dict[str, PlannedShard]:
    """Return every planned shard by name; none if plan and quarantine are not beside the shards.

    The digests are those with the manifest's ``min_s``: a job that was killed may have left a plan with another one.
    """
    store = Store(manifest.uri)
    if not store.exists(QUARANTINE_PATH) or not store.exists(PLAN_PATH):
        return {}
    plan = read_plan(store)
    plan = replace(plan, settings=replace(plan.settings, min_s=manifest.settings.get("min_s", plan.settings.min_s)))
    reasons = {song.key: song.reason for song in read_quarantine(store)}
    return {
        name: PlannedShard(
            plan.digest(rows), {song.key: reasons[song.key] for song in plan.songs[rows] if song.key in reasons}
        )
        for name, _, rows in plan.shards()
    }


def rebuild_index(store: Store, manifest: Manifest, shard: int, planned: PlannedShard) -> str:
    """Rewrite the index of an intact shard; return the SHA-256 of the index.

    The notes on songs, which only the lost index held, are lost. Where there were none, the bytes equal those of the
    lost index if ``planned`` comes from the plan and the pyarrow version is the same. Otherwise the manifest needs the
    new SHA-256 (``with_indexes``). Raises ValueError, and writes nothing, if the tar is not the one that the manifest
    knows.
    """
    path = manifest.shard_name(shard)
    if not store.exists(path):
        raise ValueError("it is missing, so its index cannot be rebuilt")
    scan = scan_shard(store, path)
    if scan.sha256 != manifest.shards["sha256"][shard].as_py():
        raise ValueError("its SHA-256 is not the manifest's, so its index cannot be rebuilt")
    if scan.refused:
        raise ValueError(f"{scan.refused}, so its index cannot be rebuilt")
    rows = manifest.shard_rows(shard)
    row_of = {manifest.songs["key"][row].as_py(): row for row in rows.tolist()}
    if unknown := [song.key for song in scan.songs if song.key not in row_of]:
        raise ValueError(f"song {unknown[0]!r} is not in the manifest, so its index cannot be rebuilt")
    pcm = [store.read_range(path, song.offset, song.num_bytes) for song in scan.songs]
    index = ShardIndex(
        keys=[song.key for song in scan.songs],
        order=manifest.column("order")[[row_of[song.key] for song in scan.songs]],
        offset=np.array([song.offset for song in scan.songs], np.int64),
        num_samples=np.array([song.num_bytes // SAMPLE_BYTES for song in scan.songs], np.int64),
        crc32=np.array([crc32(data) for data in pcm], np.uint32),
        checksums=np.concatenate([np.empty(0, np.uint32), *(second_checksums(data) for data in pcm)]),
        num_bytes=manifest.shards["num_bytes"][shard].as_py(),
        sha256=scan.sha256,
        plan_digest=planned.digest,
        quarantined=dict(planned.quarantined),
    )
    data = index_to_bytes(index)
    store.write_bytes(index_path(path), data)
    return hashlib.sha256(data).hexdigest()
