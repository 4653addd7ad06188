"""The manifest of a sharded corpus: its songs, labels and shards as Parquet tables, which the shards must match.

Layout of a corpus::

    manifest.json                      version, vocabulary, settings, SHA-256 of the tables (genrescale.data.summary)
    manifest/{version}/songs.parquet   one row per song, by split and nested order
    manifest/{version}/shards.parquet  one row per shard
    manifest/{version}/checksums.npy   the checksums of every second of all songs, in the order of songs.parquet
    shards/{shard}.tar                 WebDataset: {key}.json, {key}.pcm (int16 little-endian mono 16 kHz)
    shards/{shard}.index.parquet       a checksum of every second of audio
    plan.parquet, quarantine.parquet   the songs to be sharded, and those that could not be
    takedowns.parquet                  the songs that were taken down, with reasons
    odd_lengths.parquet                songs whose length differs much from the stated one, if there are any

Shapes: N songs, K tags.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from genrescale.audio import SPLITS, Vocabulary
from genrescale.data.index import ShardIndex, index_from_bytes, index_path, num_seconds
from genrescale.data.summary import (
    MANIFEST_PATH,
    PARTS,
    Summary,
    check_shards,
    check_songs,
    named,
    read_listed,
    read_summary,
)
from genrescale.storage.json_bytes import JSON_BYTES, read_object
from genrescale.storage.lease import publish
from genrescale.storage.parquet import MissingColumnError, table_bytes
from genrescale.storage.store import Store

PAGE_PATH = "describe.html"  # of genrescale.describe; it holds clips of the songs
DECODERS = "decoders"  # of the settings: the versions of the decoders that the songs were decoded with
_VERSION_LEN = 12
_LABELS = "labels"  # a column of songs.parquet beside those of SONG_SCHEMA

SONG_SCHEMA = pa.schema(
    {
        "key": pa.string(),
        "artist": pa.string(),
        "split": pa.string(),
        "order": pa.int64(),  # place in the split's nested order, before quarantine
        "shard": pa.int32(),  # row of the table of shards
        "offset": pa.int64(),  # bytes from the start of the tar to the first sample
        "num_samples": pa.int64(),
        "crc32": pa.uint32(),  # of the whole PCM
        "crc_start": pa.int64(),  # place of the first per-second checksum in the shard's array
        "path": pa.string(),  # the encoded source
        "excluded": pa.string(),  # the reason if no split uses it, else ""
    }
)
SHARD_SCHEMA = pa.schema(
    {
        "name": pa.string(),  # the path of the tar below the corpus; in a mix its whole address
        "split": pa.string(),
        "num_songs": pa.int64(),
        "num_bytes": pa.int64(),
        "sha256": pa.string(),
        "index_sha256": pa.string(),
    }
)


@dataclass(frozen=True, eq=False)
class Manifest:
    """The songs and shards of a corpus. ``songs`` (SONG_SCHEMA) and ``labels_NK`` (float32) have the same rows.

    ``shards`` has the columns of SHARD_SCHEMA, ``settings`` are those of the plan (``ShardSettings.of_plan``) and the
    DECODERS. ``version`` is a hash of the content (songs, splits, order, labels and audio), not of its location.
    ``checksums_file`` is the path and SHA-256 of the file that ``genrescale.data.checksums`` reads; older corpora have
    none.
    """

    uri: str
    version: str
    vocabulary: Vocabulary
    songs: pa.Table
    labels_NK: np.ndarray
    shards: pa.Table
    settings: dict[str, Any]
    checksums_file: tuple[str, str] | None = None

    def __len__(self) -> int:
        return self.songs.num_rows

    def column(self, name: str) -> np.ndarray:
        """Return a column of ``songs`` (N,)."""
        return self.songs[name].to_numpy()

    def select(self, split: str, limit: int = 0) -> np.ndarray:
        """Return the rows of the first ``limit`` songs of a split (0: all) in nested order, without excluded songs.

        Raises ValueError for an unknown split, and if the split has fewer songs.
        """
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is none of {list(SPLITS)}")
        rows = np.flatnonzero((self.column("split") == split) & (self.column("excluded") == ""))
        if limit < 0 or limit > len(rows):
            raise ValueError(
                f"{limit} {split} songs were asked for; {self.uri} has {len(rows)} {split} songs: "
                f"set run.data.size (of a sweep: sizes) to {len(rows)} or less"
            )
        rows = rows[np.argsort(self.column("order")[rows], kind="stable")]
        return rows[:limit] if limit else rows

    def digest(self, rows: np.ndarray) -> str:
        """Return the SHA-256 of the vocabulary and of the keys, audio and labels of ``rows``, in that order."""
        return _content_digest(self.songs, self.labels_NK, self.vocabulary, ("key", "crc32", "num_samples"), rows)

    @property
    def num_parts(self) -> int:
        """The number of corpora that this one was mixed from (``genrescale.data.upkeep.mix``); 1 if it is no mix."""
        return max(1, len(self.settings.get(PARTS, ())))

    def part_N(self) -> np.ndarray:
        """Return for each song the number of the corpus that it came from; zeros if this is no mix."""
        firsts = [part["first_shard"] for part in self.settings.get(PARTS, ())] or [0]
        return np.searchsorted(firsts, self.column("shard"), side="right") - 1

    def shard_name(self, shard: int) -> str:
        """Return the path of a shard."""
        return self.shards["name"][shard].as_py()

    def shard_rows(self, shard: int) -> np.ndarray:
        """Return the rows of the songs in a shard, in its order."""
        return np.flatnonzero(self.column("shard") == shard)

    def index(self, shard: int) -> ShardIndex:
        """Read the index of a shard. Raises ValueError, which names it, if its SHA-256 is not the manifest's."""
        store, path = located(Store(self.uri), index_path(self.shard_name(shard)))
        data = store.read_bytes(path)
        if hashlib.sha256(data).hexdigest() != self.shards["index_sha256"][shard].as_py():
            changed = " (or its corpus changed: mix again with jobs/mix_corpora.py)" if self.num_parts > 1 else ""
            raise ValueError(f"{store.uri}/{path} is damaged: its SHA-256 is not the manifest's{changed}")
        return index_from_bytes(data)

    def checksums(self, shard: int) -> np.ndarray:
        """Read the CRC-32 of every started second of a shard's songs, in its order, uint32; see ``crc_start``."""
        return self.index(shard).checksums

    def only_shard(self, shard: int) -> Manifest:
        """Return a manifest of one shard, there shard 0, which is small enough to be sent to a task."""
        rows = self.shard_rows(shard)
        songs = self.songs.take(rows)
        songs = songs.set_column(
            SONG_SCHEMA.get_field_index("shard"), SONG_SCHEMA.field("shard"), pa.array(np.zeros(len(rows), np.int32))
        )
        shards = self.shards.take([shard])
        return Manifest(self.uri, self.version, self.vocabulary, songs, self.labels_NK[rows], shards, self.settings)


def located(store: Store, path: str) -> tuple[Store, str]:
    """Return the corpus of a shard or index, and its path there. In a mix, shard names are whole addresses."""
    if "://" not in path and not os.path.isabs(path):
        return store, path
    root, _, name = path.rpartition("/shards/")
    return replace(store, uri=root), f"shards/{name}"


def _content_digest(
    songs: pa.Table, labels_NK: np.ndarray, vocabulary: Vocabulary, columns: tuple[str, ...], rows: np.ndarray | None
) -> str:
    digest = hashlib.sha256(vocabulary.to_json().encode())
    for name in columns:
        column = songs[name] if rows is None else songs[name].take(pa.array(rows))
        if pa.types.is_string(column.type):
            digest.update(json.dumps([name, column.to_pylist()]).encode())
        else:
            digest.update(name.encode() + np.ascontiguousarray(column.to_numpy()).tobytes())
    digest.update(np.ascontiguousarray(labels_NK if rows is None else labels_NK[rows]).tobytes())
    return digest.hexdigest()


def content_version(songs: pa.Table, labels_NK: np.ndarray, vocabulary: Vocabulary) -> str:
    """Return the version of a corpus with these songs, labels and tags."""
    columns = ("key", "artist", "split", "order", "num_samples", "crc32", "excluded")
    return _content_digest(songs, labels_NK, vocabulary, columns, None)[:_VERSION_LEN]


def write_manifest(
    out: Store,
    songs: pa.Table,
    labels_NK: np.ndarray,
    shards: pa.Table,
    vocabulary: Vocabulary,
    settings: dict[str, Any],
    checksums: np.ndarray | None = None,
) -> Manifest:
    """Write the tables, then ``manifest.json``, which makes them current: by the lease of the job that holds one.

    ``checksums`` (uint32) has every started second of every song, in the order of ``songs``; else indexes are read.
    The tables of earlier versions are kept for the results that refer to them.
    """
    songs, shards = songs.cast(SONG_SCHEMA), shards.cast(SHARD_SCHEMA)
    version = content_version(songs, labels_NK, vocabulary)
    labels = pa.FixedSizeListArray.from_arrays(pa.array(labels_NK.astype(np.float32).ravel()), len(vocabulary))
    tables = {
        f"manifest/{version}/songs.parquet": table_bytes(songs.append_column(_LABELS, labels)),
        f"manifest/{version}/shards.parquet": table_bytes(shards),
    }
    for path, data in tables.items():
        out.write_bytes(path, data)
    checksums_file = None if checksums is None else _write_checksums(out, version, songs, checksums)
    summary = {
        "version": version,
        "vocabulary": json.loads(vocabulary.to_json()),
        "settings": settings,
        "num_songs": songs.num_rows,
        "tables": {path: hashlib.sha256(data).hexdigest() for path, data in tables.items()},
        "checksums": dict([checksums_file] if checksums_file else []),
    }
    publish(out, MANIFEST_PATH, json.dumps(summary, indent=1).encode())
    return Manifest(out.uri, version, vocabulary, songs, labels_NK, shards, settings, checksums_file)


def _write_checksums(out: Store, version: str, songs: pa.Table, checksums: np.ndarray) -> tuple[str, str]:
    if (due := int(num_seconds(songs["num_samples"].to_numpy()).sum())) != len(checksums):
        raise ValueError(f"the songs of {out.uri} have {due} started seconds, {len(checksums)} checksums were given")
    file = io.BytesIO()
    np.save(file, checksums.astype(np.uint32), allow_pickle=False)
    path, data = f"manifest/{version}/checksums.npy", file.getvalue()
    out.write_bytes(path, data)
    return path, hashlib.sha256(data).hexdigest()


def with_indexes(manifest: Manifest, index_sha256: Mapping[int, str]) -> Manifest:
    """Write the manifest with the SHA-256 of rebuilt indexes (by row of ``shards``), and return it. Its version stays.

    Nothing is written if none changed. The new table of shards gets a path of its own, so that ``manifest.json`` names
    a whole table at any moment.
    """
    store = Store(manifest.uri)
    column = [index_sha256.get(i, sha256) for i, sha256 in enumerate(manifest.shards["index_sha256"].to_pylist())]
    if column == manifest.shards["index_sha256"].to_pylist():
        return manifest
    place = SHARD_SCHEMA.get_field_index("index_sha256")
    shards = manifest.shards.set_column(place, SHARD_SCHEMA.field(place), pa.array(column, pa.string()))
    data = table_bytes(shards)
    sha256 = hashlib.sha256(data).hexdigest()
    summary = read_object(store.read_bytes(MANIFEST_PATH, JSON_BYTES), f"{store.uri}/{MANIFEST_PATH}")
    path = f"manifest/{manifest.version}/shards.{sha256[:_VERSION_LEN]}.parquet"
    store.write_bytes(path, data)
    songs_path, songs_sha256 = read_summary(store).songs
    summary["tables"] = {songs_path: songs_sha256, path: sha256}
    publish(store, MANIFEST_PATH, json.dumps(summary, indent=1).encode())
    return replace(manifest, shards=shards)


def read_manifest(uri: str) -> Manifest:
    """Read the manifest of the corpus at ``uri``.

    Raises FileNotFoundError if there is none, ValueError if a table is missing or damaged, or names other files than
    those of the corpus.
    """
    store = Store(uri)
    summary, shards = _summary_and_shards(store)
    vocabulary = summary.vocabulary
    schema = SONG_SCHEMA.append(pa.field(_LABELS, pa.list_(pa.float32(), len(vocabulary))))
    try:
        songs = read_listed(store, summary.songs, schema)
    except MissingColumnError as error:
        raise ValueError(
            f"{uri} was written by an earlier version (its manifest has no {error.names}); "
            f"run jobs/shard_corpus.py again into an empty folder (with its takedowns.parquet, if it has one)"
        ) from None
    if songs.num_rows != summary.num_songs:
        raise ValueError(f"{uri}/{MANIFEST_PATH} names {summary.num_songs} songs, its table has {songs.num_rows}")
    labels_NK = songs[_LABELS].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, len(vocabulary))
    songs = songs.drop_columns([_LABELS]).combine_chunks()
    with named(store, summary.songs):
        check_songs(songs, labels_NK, shards)
    return Manifest(
        uri=store.uri,
        version=summary.version,
        vocabulary=vocabulary,
        songs=songs,
        labels_NK=labels_NK,
        shards=shards,
        settings=summary.settings,
        checksums_file=summary.checksums,
    )


def read_shards(uri: str) -> pa.Table:
    """Read only the table of shards of the corpus at ``uri``. Raises the errors of ``read_manifest``."""
    return _summary_and_shards(Store(uri))[1]


def _summary_and_shards(store: Store) -> tuple[Summary, pa.Table]:
    summary = read_summary(store)
    shards = read_listed(store, summary.shards, SHARD_SCHEMA)
    with named(store, summary.shards):
        check_shards(summary.settings, shards)
    return summary, shards
