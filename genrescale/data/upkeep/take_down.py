"""Take songs down: remove them from their shards, and keep them out of any shard that is written later.

The list of takedowns is stored beside the shards. So a song does not come back when the corpus is sharded again, its
quarantine is retried, or the encoded files are restored. Its shard is rewritten without it; the others stay unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from genrescale.audio import PCM_DTYPE, Clip, Song
from genrescale.data.checksums import gather_checksums
from genrescale.data.features import keep_features
from genrescale.data.index import ShardIndex, crc32, index_from_bytes, index_path, index_to_bytes
from genrescale.data.manifest import PAGE_PATH, SHARD_SCHEMA, Manifest, read_manifest, write_manifest
from genrescale.data.quarantine import Quarantined, read_quarantine, write_quarantine
from genrescale.data.sharding.duplicates import with_exclusions
from genrescale.data.sharding.plan import PLAN_PATH
from genrescale.data.sharding.plan_file import read_plan_file
from genrescale.data.sharding.scan import scan_shard
from genrescale.data.sharding.writer import ShardWriter
from genrescale.data.takedowns import TAKEDOWN_SCHEMA, TAKEDOWNS_PATH, read_takedowns
from genrescale.data.upkeep.mix import refuse_mix
from genrescale.storage.lease import Lease, writing
from genrescale.storage.parquet import table_bytes
from genrescale.storage.store import Store


@dataclass(frozen=True, eq=False)
class TakedownResult:
    """``removed`` are the keys of the songs that were in the corpus, ``sources`` their encoded files, which are kept.

    ``shards`` were rewritten. ``page_deleted``: the page of the corpus, which contains clips, was deleted too.
    """

    manifest: Manifest
    removed: list[str]
    shards: list[str]
    sources: list[str]
    page_deleted: bool


def take_down(store: Store, keys: Sequence[str], reason: str) -> TakedownResult:
    """Remove songs from a finished corpus, which gets a new version. After a kill, the same call continues.

    Songs that are not in a shard (in quarantine, held out, or of an unfinished addition) can be taken down too; then no
    shard will contain them. Raises ValueError, and changes nothing, for a key that the corpus does not know and if a
    shard to be rewritten is damaged; FileNotFoundError if there is no finished corpus or no such shard; BusyError if
    another job writes to it.
    """
    with writing(store, "take_down") as lease:
        return _take_down(store, keys, reason, lease)


def _take_down(store: Store, keys: Sequence[str], reason: str, lease: Lease) -> TakedownResult:
    manifest = read_manifest(store.uri)
    refuse_mix(manifest, "take songs down from")
    takedowns, quarantine = read_takedowns(store), read_quarantine(store)
    known = {*manifest.songs["key"].to_pylist(), *takedowns, *(song.key for song in quarantine)}
    if store.exists(PLAN_PATH):
        known.update(read_plan_file(store).table["key"].to_pylist())
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise ValueError(
            f"{store.uri} has no song {', '.join(unknown[:5])}; a song is named by its key in the manifest"
        )
    takedowns |= {key: f"taken down: {reason}" for key in keys if key not in takedowns}
    gone_N = np.array([key in takedowns for key in manifest.songs["key"].to_pylist()], dtype=bool)
    shards = np.unique(manifest.column("shard")[gone_N]).tolist()
    for shard in shards:  # all before anything is written: half a takedown would leave a broken corpus
        _check(store, manifest, shard, takedowns)
    lease.check()
    columns = {"key": list(takedowns), "reason": list(takedowns.values())}
    store.write_bytes(TAKEDOWNS_PATH, table_bytes(pa.table(columns, schema=TAKEDOWN_SCHEMA)))
    keep_features(store, lambda key: key not in takedowns)
    if page_deleted := bool(shards) and store.exists(PAGE_PATH):
        store.delete(PAGE_PATH)
    indexes = {shard: _rewrite(store, manifest, shard, takedowns, lease) for shard in shards}
    lease.check()
    others = [song for song in quarantine if song.key not in takedowns]
    write_quarantine(store, [*others, *(Quarantined(key, "", why) for key, why in takedowns.items())])
    gone = manifest.songs.filter(pa.array(gone_N))
    return TakedownResult(
        manifest=_without(store, manifest, gone_N, indexes),
        removed=gone["key"].to_pylist(),
        shards=[manifest.shard_name(shard) for shard in shards],
        sources=gone["path"].to_pylist(),
        page_deleted=page_deleted,
    )


def _rewrite(store: Store, manifest: Manifest, shard: int, takedowns: dict[str, str], lease: Lease) -> ShardIndex:
    """Rewrite a shard without the songs taken down, as if it had never had them, and then its index.

    The places of the songs are read from the tar, not from the manifest. So a shard that a killed takedown has already
    rewritten is written again with the same bytes.
    """
    path = manifest.shard_name(shard)
    before = index_from_bytes(store.read_bytes(index_path(path)))
    with store.whole_file(path) as file:
        writer = ShardWriter(file)
        for row, clip in _kept_songs(store, manifest, shard, takedowns):
            clip = replace(clip, notes=before.notes.get(clip.key, ()))
            labels = manifest.vocabulary.decode(manifest.labels_NK[row])
            facts = Song(clip.key, "", manifest.songs["artist"][row].as_py(), labels)
            split, order = manifest.shards["split"][shard].as_py(), manifest.songs["order"][row].as_py()
            writer.add(facts, split, order, clip)
        writer.close()
        lease.check()
    keys = manifest.songs["key"].take(manifest.shard_rows(shard)).to_pylist()
    gone = {key: takedowns[key] for key in keys if key in takedowns}
    index = writer.index(before.plan_digest, before.quarantined | gone)
    store.write_bytes(index_path(path), index_to_bytes(index))
    return index


def _check(store: Store, manifest: Manifest, shard: int, takedowns: dict[str, str]) -> None:
    """Raise ValueError if the index of a shard, or a song that stays in it, cannot be read."""
    path = index_path(manifest.shard_name(shard))
    try:
        index_from_bytes(store.read_bytes(path))
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{error}; mend {store.uri}/{path} first (jobs/verify_corpus.py says how)") from None
    for _ in _kept_songs(store, manifest, shard, takedowns):
        pass


def _kept_songs(store: Store, manifest: Manifest, shard: int, takedowns: dict[str, str]) -> Iterator[tuple[int, Clip]]:
    """Yield the row and the audio of each song that stays in a shard. Raises ValueError if one is damaged."""
    path, rows = manifest.shard_name(shard), manifest.shard_rows(shard).tolist()
    row_of = {key: row for row in rows if (key := manifest.songs["key"][row].as_py()) not in takedowns}
    scan = scan_shard(store, path)
    stored = [song for song in scan.songs if song.key in row_of]
    if len(stored) < len(row_of):
        raise ValueError(
            f"{store.uri}/{path} is damaged: only {len(stored)} of {len(row_of)} songs can be read"
            f"{f' ({scan.refused})' if scan.refused else ''}; "
            f"mend it first (jobs/verify_corpus.py says how)"
        )
    for song in stored:
        data = store.read_range(path, song.offset, song.num_bytes)
        if crc32(data) != manifest.songs["crc32"][row_of[song.key]].as_py():
            raise ValueError(
                f"{store.uri}/{path} is damaged in song {song.key}; mend it first (jobs/verify_corpus.py says how)"
            )
        yield row_of[song.key], Clip(song.key, np.frombuffer(data, PCM_DTYPE))


def _without(store: Store, manifest: Manifest, gone_N: np.ndarray, indexes: dict[int, ShardIndex]) -> Manifest:
    """Write the manifest after a takedown, and return it. ``indexes`` belong to the rewritten shards."""
    columns = {name: manifest.column(name).copy() for name in ("offset", "crc_start")}
    shards = {name: manifest.shards[name].to_pylist() for name in SHARD_SCHEMA.names}
    for shard, index in indexes.items():
        rows = manifest.shard_rows(shard)
        rows = rows[~gone_N[rows]]  # in the shard's order, as the index is
        columns["offset"][rows], columns["crc_start"][rows] = index.offset, index.crc_start
        shards["num_songs"][shard], shards["num_bytes"][shard] = len(rows), index.num_bytes
        shards["sha256"][shard] = index.sha256
        shards["index_sha256"][shard] = hashlib.sha256(index_to_bytes(index)).hexdigest()
    songs = manifest.songs
    for name, values in columns.items():
        songs = songs.set_column(songs.column_names.index(name), name, pa.array(values))
    kept = replace(
        manifest,
        songs=songs.filter(pa.array(~gone_N)).combine_chunks(),
        labels_NK=manifest.labels_NK[~gone_N],
        shards=pa.table(shards, schema=SHARD_SCHEMA),
        checksums_file=None,
    )
    songs, checksums = with_exclusions(kept).songs, None
    if manifest.checksums_file:  # an older corpus gets none: its other indexes are not read here
        checksums = gather_checksums(manifest, np.flatnonzero(~gone_N))
    return write_manifest(store, songs, kept.labels_NK, kept.shards, manifest.vocabulary, manifest.settings, checksums)
