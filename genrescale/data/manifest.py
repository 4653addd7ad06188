"""The truth about a sharded corpus: its songs, labels and shards as Parquet, and how to check the shards against it.

Layout of a corpus::

    manifest.json                      version, vocabulary, settings, and the checksums of the two tables; written last
    manifest/{version}/songs.parquet   one row per song, by split and nested order
    manifest/{version}/shards.parquet  one row per shard
    manifest/{version}/checksums.npy   the checksums of every second of all songs, in the order of songs.parquet
    shards/{shard}.tar                 WebDataset: {key}.json, {key}.pcm (int16 little-endian mono 16 kHz)
    shards/{shard}.index.parquet       a checksum of every second of audio
    plan.parquet, quarantine.parquet   what was to be sharded, and what could not be
    takedowns.parquet                  songs that were taken down, and why
    odd_lengths.parquet                songs that are far from the length that their corpus states, if there are any

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
from genrescale.storage.parquet import table_bytes, table_of
from genrescale.storage.store import Store

MANIFEST_PATH = "manifest.json"
PAGE_PATH = "describe.html"  # of genrescale.describe; it holds clips of the songs
PARTS = "parts"  # of the settings: the corpora of a mix
DECODERS = "decoders"  # of the settings: the versions of the decoders that the songs were decoded with
_VERSION_LEN = 12

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
        "excluded": pa.string(),  # why no split has it, "" for songs that are used
    }
)
SHARD_SCHEMA = pa.schema(
    {
        "name": pa.string(),  # path of the tar below the corpus; in a mix its whole address
        "split": pa.string(),
        "num_songs": pa.int64(),
        "num_bytes": pa.int64(),
        "sha256": pa.string(),
        "index_sha256": pa.string(),
    }
)


@dataclass(frozen=True, eq=False)
class Manifest:
    """``songs`` (SONG_SCHEMA) and ``labels_NK`` (float32) have the same rows; ``shards`` is of SHARD_SCHEMA.

    ``settings`` are those of the plan (``ShardSettings.of_plan``) and the DECODERS. ``version`` names the content:
    songs, splits, order, labels and audio, not where they lie. ``checksums_file`` is the path and the SHA-256 of the file
    that ``genrescale.data.checksums`` reads; corpora of before it have none.
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
        """One column of ``songs`` (N,)."""
        return self.songs[name].to_numpy()

    def select(self, split: str, limit: int = 0) -> np.ndarray:
        """Rows of the first ``limit`` surviving songs of a split (0: all) in nested order; excluded ones are left out.

        Raises ValueError for an unknown split, and for a limit above the songs that there are.
        """
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is none of {list(SPLITS)}")
        rows = np.flatnonzero((self.column("split") == split) & (self.column("excluded") == ""))
        if limit < 0 or limit > len(rows):
            raise ValueError(f"{limit} {split} songs were asked for; {self.uri} has {len(rows)} {split} songs")
        rows = rows[np.argsort(self.column("order")[rows], kind="stable")]
        return rows[:limit] if limit else rows

    def digest(self, rows: np.ndarray) -> str:
        """SHA-256 of the vocabulary and of the rows' keys, audio and labels, in their order."""
        return _content_digest(self.songs, self.labels_NK, self.vocabulary, ("key", "crc32", "num_samples"), rows)

    @property
    def num_parts(self) -> int:
        """Corpora that this one was mixed from (``genrescale.data.upkeep.mix``); 1 for any other."""
        return max(1, len(self.settings.get(PARTS, ())))

    def part_N(self) -> np.ndarray:
        """For each song the corpus that it came from: its place in the mix; zeros for a corpus that is no mix."""
        firsts = [part["first_shard"] for part in self.settings.get(PARTS, ())] or [0]
        return np.searchsorted(firsts, self.column("shard"), side="right") - 1

    def shard_name(self, shard: int) -> str:
        return self.shards["name"][shard].as_py()

    def shard_rows(self, shard: int) -> np.ndarray:
        """Rows of the songs in a shard, in its order."""
        return np.flatnonzero(self.column("shard") == shard)

    def index(self, shard: int) -> ShardIndex:
        """The shard's index. Raises ValueError, naming it, where it is not the one that the manifest knows."""
        store, path = located(Store(self.uri), index_path(self.shard_name(shard)))
        data = store.read_bytes(path)
        if hashlib.sha256(data).hexdigest() != self.shards["index_sha256"][shard].as_py():
            changed = " (or its corpus changed: mix again with jobs/mix_corpora.py)" if self.num_parts > 1 else ""
            raise ValueError(f"{store.uri}/{path} is damaged: its SHA-256 is not the manifest's{changed}")
        return index_from_bytes(data)

    def checksums(self, shard: int) -> np.ndarray:
        """CRC-32 of every started second of every song of a shard, in its order, uint32; see ``crc_start``."""
        return self.index(shard).checksums

    def only_shard(self, shard: int) -> Manifest:
        """A small manifest of one shard (its shard 0), to be sent to a task."""
        rows = self.shard_rows(shard)
        songs = self.songs.take(rows)
        songs = songs.set_column(
            SONG_SCHEMA.get_field_index("shard"), SONG_SCHEMA.field("shard"), pa.array(np.zeros(len(rows), np.int32))
        )
        shards = self.shards.take([shard])
        return Manifest(self.uri, self.version, self.vocabulary, songs, self.labels_NK[rows], shards, self.settings)


def located(store: Store, path: str) -> tuple[Store, str]:
    """The corpus that has a shard (or its index), and the path there: in a mix, paths are whole addresses."""
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
    """The version of a corpus with these songs, labels and tags."""
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
    """Write the tables, then ``manifest.json``, which makes them the corpus.

    ``checksums`` (uint32) are of every started second of every song, in the order of ``songs``; without them the
    indexes are read. The tables of earlier versions stay, for the results that name them; a takedown moves songs
    within their shards.
    """
    songs, shards = songs.cast(SONG_SCHEMA), shards.cast(SHARD_SCHEMA)
    version = content_version(songs, labels_NK, vocabulary)
    labels = pa.FixedSizeListArray.from_arrays(pa.array(labels_NK.astype(np.float32).ravel()), len(vocabulary))
    tables = {
        f"manifest/{version}/songs.parquet": table_bytes(songs.append_column("labels", labels)),
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
    out.write_bytes(MANIFEST_PATH, json.dumps(summary, indent=1).encode())
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
    """The manifest with the SHA-256 of indexes that were rebuilt (by row of ``shards``), written; the same version.

    Nothing is written where every one is as it was. The new table of shards gets its own path, so that
    ``manifest.json`` names one whole table at any moment.
    """
    store = Store(manifest.uri)
    column = [index_sha256.get(i, sha256) for i, sha256 in enumerate(manifest.shards["index_sha256"].to_pylist())]
    if column == manifest.shards["index_sha256"].to_pylist():
        return manifest
    place = SHARD_SCHEMA.get_field_index("index_sha256")
    shards = manifest.shards.set_column(place, SHARD_SCHEMA.field(place), pa.array(column, pa.string()))
    data = table_bytes(shards)
    sha256 = hashlib.sha256(data).hexdigest()
    summary = json.loads(store.read_bytes(MANIFEST_PATH))
    path = f"manifest/{manifest.version}/shards.{sha256[:_VERSION_LEN]}.parquet"
    store.write_bytes(path, data)
    songs_path = next(iter(summary["tables"]))
    summary["tables"] = {songs_path: summary["tables"][songs_path], path: sha256}
    store.write_bytes(MANIFEST_PATH, json.dumps(summary, indent=1).encode())
    return replace(manifest, shards=shards)


def read_manifest(uri: str) -> Manifest:
    """The manifest of the corpus at ``uri``.

    Raises FileNotFoundError where there is none, ValueError where its tables are missing or damaged.
    """
    store, summary = Store(uri), _read_summary(uri)
    songs, shards = (_read_table(store, path, sha256) for path, sha256 in summary["tables"].items())
    if missing := set(SONG_SCHEMA.names) - set(songs.column_names):
        raise ValueError(
            f"{uri} was written by an earlier version (its manifest has no {', '.join(sorted(missing))}); "
            f"run jobs/shard_corpus.py again into an empty folder (with its takedowns.parquet, if it has one)"
        )
    vocabulary = Vocabulary.from_json(json.dumps(summary["vocabulary"]))
    labels = songs["labels"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return Manifest(
        uri=uri,
        version=summary["version"],
        vocabulary=vocabulary,
        songs=songs.drop_columns(["labels"]).combine_chunks(),
        labels_NK=labels.reshape(-1, len(vocabulary)),
        shards=shards,
        settings=summary["settings"],
        checksums_file=next(iter(summary.get("checksums", {}).items()), None),
    )


def read_shards(uri: str) -> pa.Table:
    """The table of shards of the corpus at ``uri`` alone; raises what ``read_manifest`` raises."""
    _, (path, sha256) = _read_summary(uri)["tables"].items()
    return _read_table(Store(uri), path, sha256)


def _read_summary(uri: str) -> dict[str, Any]:
    store = Store(uri)
    if not store.exists(MANIFEST_PATH):
        raise FileNotFoundError(
            f"{uri} holds no {MANIFEST_PATH}: it is no finished corpus; "
            f"make it with jobs/shard_corpus.py corpus=... audio=... out={uri}"
        )
    return json.loads(store.read_bytes(MANIFEST_PATH))


def _read_table(store: Store, path: str, sha256: str) -> pa.Table:
    if not store.exists(path):
        raise ValueError(f"{store.uri}/{path} is missing; {MANIFEST_PATH} names it")
    data = store.read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{store.uri}/{path} is damaged: its SHA-256 is not that of {MANIFEST_PATH}")
    return table_of(data)
