"""The songs that benchmarks/stream.py reads: noise, the same in each of the formats that are compared."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

RATE, SONG_LEN, CROP_LEN, BATCH = 16_000, 480_000, 240_000, 32
SONGS_PER_SHARD = 64


@dataclass(frozen=True)
class Place:
    """Where the songs lie: a folder or a bucket with one folder for each format."""

    root: str
    songs: int
    endpoint: str = ""

    def folder(self, format: str) -> str:
        return f"{self.root}/{format}"

    @property
    def shards(self) -> list[str]:
        count = len(range(0, self.songs, SONGS_PER_SHARD))
        return [f"{self.root}/tar/shards/train-{i:06d}.tar" for i in range(count)]


def module(name: str) -> Any:
    """A peer, of which type checkers know nothing where it is not installed."""
    return importlib.import_module(name)


def song(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(-(2**15), 2**15, SONG_LEN, np.int16)


def write_tar(place: Place) -> None:
    """Our corpus, which is also what the webdataset library and ray.data.read_webdataset read."""
    import pyarrow as pa

    from genrescale.audio import Tag, Vocabulary
    from genrescale.data.index import ShardIndex, index_path, index_to_bytes, second_checksums
    from genrescale.data.manifest import SHARD_SCHEMA, SONG_SCHEMA, write_manifest
    from genrescale.storage.store import Store

    store = Store(place.folder("tar"))
    rows: list[dict[str, Any]] = []
    every: list[np.ndarray] = []
    shards: list[dict[str, Any]] = []
    for s, path in enumerate(place.shards):
        songs = range(s * SONGS_PER_SHARD, min(place.songs, (s + 1) * SONGS_PER_SHARD))
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        checksums = []
        with module("webdataset").TarWriter(path) as tar:
            for i in songs:
                tar.write({"__key__": f"song{i:06d}", "pcm": song(i).tobytes(), "json": b"{}"})
                checksums.append(second_checksums(song(i).tobytes()))
        with tarfile.open(path) as tar:
            offsets = [member.offset_data for member in tar if member.name.endswith(".pcm")]
        name = os.path.relpath(path, place.folder("tar"))
        counts, zeros = np.full(len(songs), SONG_LEN), np.zeros(len(songs), np.uint32)
        index = ShardIndex(
            [f"song{i:06d}" for i in songs],
            np.array(songs),
            np.array(offsets),
            counts,
            zeros,
            np.concatenate(checksums),
            os.path.getsize(path),
            "",
            "",
            {},
        )
        every += checksums
        data = index_to_bytes(index)
        store.write_bytes(index_path(name), data)
        for row, i in enumerate(songs):
            labels = {
                "key": f"song{i:06d}",
                "artist": f"artist{i}",
                "split": "train",
                "order": i,
                "path": "",
                "excluded": "",
            }
            place_ = {"shard": s, "offset": offsets[row], "num_samples": SONG_LEN, "crc32": 0}
            rows.append({**labels, **place_, "crc_start": int(index.crc_start[row])})
        hashes = {"sha256": "", "index_sha256": hashlib.sha256(data).hexdigest()}
        shards.append({"name": name, "split": "train", "num_songs": len(songs), "num_bytes": 0, **hashes})
    labels_NK = np.ones((place.songs, 1), np.float32)
    tables = pa.Table.from_pylist(rows, SONG_SCHEMA), pa.Table.from_pylist(shards, SHARD_SCHEMA)
    write_manifest(store, tables[0], labels_NK, tables[1], Vocabulary((Tag("any"),)), {}, np.concatenate(every))


def write_mds(place: Place) -> None:
    with module("streaming").MDSWriter(out=place.folder("mds"), columns={"pcm": "bytes"}, size_limit=1 << 26) as out:
        for i in range(place.songs):
            out.write({"pcm": song(i).tobytes()})


def write_litdata(place: Place) -> None:
    writer = module("litdata.streaming.writer").BinaryWriter(place.folder("litdata"), chunk_bytes="64MB")
    for i in range(place.songs):
        writer.add_item(i, {"pcm": song(i).tobytes()})
    writer.done()
    writer.merge()


def write_lhotse(place: Place) -> None:
    import soundfile

    lhotse, shar = module("lhotse"), module("lhotse.shar")
    Path(place.folder("lhotse")).mkdir(parents=True)
    with shar.SharWriter(place.folder("lhotse"), {"recording": "wav"}, shard_size=SONGS_PER_SHARD) as out:
        for i in range(place.songs):
            wav = io.BytesIO()
            soundfile.write(wav, song(i), RATE, format="WAV")
            out.write(lhotse.Recording.from_bytes(wav.getvalue(), f"song{i:06d}").to_cut())


WRITERS: dict[str, Callable[[Place], None]] = {
    "tar": write_tar,
    "mds": write_mds,
    "litdata": write_litdata,
    "lhotse": write_lhotse,
}


_MODULES = {"mosaicml_streaming": "streaming", "mds": "streaming", "lhotse_shar": "lhotse"}


INSTALL_PEERS = "all peers: .venv/bin/uv pip install --python .venv/bin/python -e '.[peers]'"


def needs(name: str) -> list[str]:
    """The modules that a reader or a writer needs beside ours."""
    needed = _MODULES.get(name, name)
    return [needed] if needed in ("streaming", "litdata", "lhotse", "webdataset") else []
