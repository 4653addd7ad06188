"""Write songs to WebDataset shards: decode, write the tar, write its index.

One Ray task writes one shard. A shard appears complete or not at all, and its index after it, so the job may be killed
at any time. When run again, it keeps the shards whose index shows that they were written for the same plan, writes the
others, and ends with the same bytes as an uninterrupted run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import IO, Any, BinaryIO, cast

import numpy as np

from genrescale.addresses import scrubbed
from genrescale.audio import PCM_DTYPE, SAMPLE_BYTES, SAMPLE_RATE, Clip, Song, Vocabulary
from genrescale.config import canonical_json
from genrescale.config.corpus import ShardSettings
from genrescale.config.numbers import ceil_div
from genrescale.data.decoding.decode import decode_pcm, middle_excerpt, too_short
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.decoding.fetch import fetch_bytes, fetch_once
from genrescale.data.index import (
    ShardIndex,
    crc32,
    index_from_bytes,
    index_path,
    index_to_bytes,
    second_checksums,
)
from genrescale.data.sharding.scan import scan_shard
from genrescale.storage.errors import StoreError
from genrescale.storage.lease import Claim
from genrescale.storage.store import Store
from genrescale.telemetry.ticks import tick

_BLOCK = 512
_PROBES = 3


@dataclass(frozen=True)
class ShardTask:
    """All inputs of the task that writes one shard.

    ``first_order`` is the position of its first song in the split. ``labels_nK`` has a row for every song.
    ``taken_down`` maps the keys of songs that must not be read any more to the reasons. A shard that was written for
    one of ``earlier_digests`` has the right samples, but may lack songs, or have some that are now too short.
    ``claim`` is the right of its job to write, checked before the shard appears.
    """

    store: Store
    name: str
    split: str
    first_order: int
    songs: Sequence[Song]
    labels_nK: np.ndarray
    vocabulary: Vocabulary
    plan_digest: str
    settings: ShardSettings
    taken_down: Mapping[str, str] = field(default_factory=dict)
    earlier_digests: Sequence[str] = ()
    claim: Claim | None = None


@dataclass(frozen=True)
class ShardReport:
    """The result of a finished shard: the number of songs written, and key -> reason of quarantined ones."""

    name: str
    num_songs: int
    quarantined: dict[str, str]


class _HashedFile:
    """The file that TarWriter writes to; it counts and hashes the bytes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.num_bytes += len(data)
        return self._file.write(data)


def to_sample(song: Song, split: str, clip: Clip) -> dict[str, Any]:
    """Convert a song to a WebDataset sample: its PCM and its JSON.

    The labels include every tag: libraries that infer a table's columns from its first rows would drop missing ones.
    """
    facts = {
        "key": song.key,
        "artist": song.artist,
        "split": split,
        "labels": dict(song.labels),
        "num_samples": len(clip.pcm_T),
        "sample_rate": SAMPLE_RATE,
    }
    return {
        "__key__": song.key,
        "json": canonical_json(facts).encode(),
        "pcm": clip.pcm_T.astype(PCM_DTYPE, copy=False).tobytes(),
    }


def decode_song(song: Song, settings: ShardSettings) -> Clip:
    """Decode a song. Raises DecodeError if it has no usable audio, StoreError if its store cannot be reached."""
    source = fetch_bytes(song.address, settings.allow_internal_urls)
    clip = decode_pcm(source, song.path, min_s=settings.min_s, max_s=settings.max_s)
    return middle_excerpt(replace(clip, key=song.key), settings.max_s)


class ShardWriter:
    """Writes songs to one tar, with deterministic bytes, and collects the rows of its index."""

    def __init__(self, file: IO[bytes]) -> None:
        # imported here, because it imports torch, which takes seconds that a refused job should not cost
        from webdataset.writer import TarWriter

        self.file = _HashedFile(file)
        # GNU format, because a key may exceed the 100 bytes of a plain header
        self._tar = TarWriter(
            cast(BinaryIO, self.file),
            user="genrescale",
            group="genrescale",
            mtime=0,
            encoder=False,
            compress=False,
            format="GNU_FORMAT",
        )
        self.rows: list[tuple[str, int, int, int, int]] = []
        self.notes: dict[str, tuple[str, ...]] = {}
        self.checksums = [np.empty(0, np.uint32)]

    def add(self, song: Song, split: str, order: int, clip: Clip) -> None:
        sample = to_sample(song, split, clip)
        self._tar.write(sample)
        # the PCM is the sample's last member, so padded to whole blocks it ends at the tar's current end
        num_bytes = len(clip.pcm_T) * SAMPLE_BYTES
        offset = self._tar.tarstream.offset - ceil_div(num_bytes, _BLOCK) * _BLOCK
        self.rows.append((song.key, order, offset, len(clip.pcm_T), crc32(sample["pcm"])))
        self.checksums.append(second_checksums(sample["pcm"]))
        if clip.notes:
            self.notes[song.key] = clip.notes

    def close(self) -> None:
        self._tar.close()

    def index(self, plan_digest: str, quarantined: dict[str, str]) -> ShardIndex:
        """Return the index of the added songs. Close the writer first."""
        keys, order, offset, num_samples, crc32s = zip(*self.rows, strict=True) if self.rows else ((),) * 5
        return ShardIndex(
            keys=list(keys),
            order=np.array(order, np.int64),
            offset=np.array(offset, np.int64),
            num_samples=np.array(num_samples, np.int64),
            crc32=np.array(crc32s, np.uint32),
            checksums=np.concatenate(self.checksums),
            num_bytes=self.file.num_bytes,
            sha256=self.file.sha256.hexdigest(),
            plan_digest=plan_digest,
            quarantined=quarantined,
            notes=self.notes,
        )


def write_shard(task: ShardTask) -> ShardReport:
    """Decode the songs of one shard and write its tar, then its index. Songs that fail are quarantined.

    A song is also quarantined if its server or bucket fails for it (a web server: until the patience ends) but serves
    another song of the shard, or has no other. A server or bucket that serves none raises StoreError: the job stops,
    and continues when run again.

    Songs that the shard already holds are taken from it. So rewriting a shard for some songs loses no others, even if
    their encoded files no longer exist.
    """
    quarantined, stored = {}, _stored_songs(task)
    with task.store.whole_file(task.name) as file:
        writer = ShardWriter(file)
        for i, song in enumerate(task.songs):
            if i:
                tick()  # the song before
            if song.key in task.taken_down:
                quarantined[song.key] = task.taken_down[song.key]
                continue
            try:
                clip = _stored_clip(task, song, stored) or decode_song(song, task.settings)
                if clip.duration_s < task.settings.min_s:  # it was stored for a lower one
                    raise DecodeError(song.path, too_short(clip.duration_s, task.settings.min_s))
            except DecodeError as error:
                quarantined[song.key] = error.reason
                continue
            except StoreError as error:
                if _is_down(task, song):
                    error.add_note(f"while {song.path} was read")
                    raise
                quarantined[song.key] = f"its server or bucket failed at it, not at other songs of the shard: {error}"
                continue
            except OSError as error:  # of this machine: a full disk, no more processes
                error.add_note(f"while {song.path} was read")
                raise
            except Exception as error:  # a bug in a decoder must not stop a job of a million songs
                quarantined[song.key] = scrubbed(f"decoding failed: {type(error).__name__}: {error}")
                continue
            labelled = replace(song, labels=task.vocabulary.decode(task.labels_nK[i]))
            writer.add(labelled, task.split, task.first_order + i, clip)
        writer.close()
        if task.claim is not None:
            task.claim.check()
        if task.store.exists(index_path(task.name)):
            # the old index of a rewritten shard must not be taken for that of the new tar
            task.store.delete(index_path(task.name))
    index = writer.index(task.plan_digest, quarantined)
    task.store.write_bytes(index_path(task.name), index_to_bytes(index))
    return ShardReport(task.name, len(writer.rows), quarantined)


def _is_down(task: ShardTask, failed: Song) -> bool:
    """Whether the server or bucket that fails for a song also fails for a few others of its shard."""
    others = [song for song in task.songs if song.key != failed.key and _host(song) == _host(failed)]
    for other in others[:_PROBES]:
        with suppress(StoreError, DecodeError):
            fetch_once(other.address, task.settings.allow_internal_urls)
            return False
    return bool(others)


def _host(song: Song) -> tuple[str, str]:
    """Return the protocol and the server, or bucket, of a song's address."""
    protocol, _, rest = song.path.partition("://")
    return protocol, rest.partition("/")[0]


@dataclass(frozen=True)
class _Stored:
    """The byte range and CRC-32 of a song's PCM in an existing shard, and the notes on it."""

    offset: int
    num_bytes: int
    crc32: int
    notes: tuple[str, ...]


def _stored_songs(task: ShardTask) -> dict[str, _Stored]:
    """Return the songs in an existing shard that was written for the same plan.

    Positions are read from the tar, not from the index: a takedown that was killed leaves the index of the previous
    tar.
    """
    if not task.store.exists(task.name) or not task.store.exists(index_path(task.name)):
        return {}
    try:
        index = index_from_bytes(task.store.read_bytes(index_path(task.name)))
    except ValueError:
        return {}
    if index.plan_digest not in (task.plan_digest, *task.earlier_digests):
        return {}
    known = dict(zip(index.keys, index.crc32.tolist(), strict=True))
    songs = scan_shard(task.store, task.name).songs
    return {
        song.key: _Stored(song.offset, song.num_bytes, known[song.key], index.notes.get(song.key, ()))
        for song in songs
        if song.key in known
    }


def _stored_clip(task: ShardTask, song: Song, stored: Mapping[str, _Stored]) -> Clip | None:
    """Read a song's audio from the existing shard; None if it is not there or is damaged."""
    if (place := stored.get(song.key)) is None:
        return None
    data = task.store.read_range(task.name, place.offset, place.num_bytes)
    if crc32(data) != place.crc32:
        return None
    return Clip(song.key, np.frombuffer(data, PCM_DTYPE), place.notes)
