"""Write synthetic songs as encoded files, and their table.

A corpus folder contains ``songs/<block>/song-<index>.<format>``, ``songs.parquet`` and ``vocabulary.json``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from typing import TypedDict

import numpy as np
import pyarrow as pa
import soundfile

from genrescale.data.synthesis.artists import choose, stream
from genrescale.data.synthesis.describe import describe_song
from genrescale.data.synthesis.instruments import RATE
from genrescale.data.synthesis.render import render
from genrescale.data.synthesis.tags import VOCABULARY, label_song
from genrescale.storage.parquet import table_bytes
from genrescale.storage.store import Store

SONGS_TABLE = "songs.parquet"
VOCABULARY_FILE = "vocabulary.json"
SONGS_FOLDER = "songs"
FACTS_FILE = "synthesis.json"  # the settings of the synthesis (genrescale.data.sharding.synthetic)
FOLDER_SONGS = 1000
# Format -> its share of the songs. It is drawn independently of the music, so that a codec does not reveal a tag. The
# lossy encoders are slow (LAME is about 20 times slower than FLAC), hence their small shares.
FORMAT_SHARES = {"flac": 0.8, "ogg": 0.12, "mp3": 0.08}
ENCODERS = {
    "flac": {"format": "FLAC", "subtype": "PCM_16", "compression_level": 0.0},
    "ogg": {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.5},
    "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.6},
}


class SongRow(TypedDict):
    """One row of ``songs.parquet``. ``path`` is relative to the corpus folder; ``labels`` are as in ``label_song``."""

    index: int
    path: str
    artist: str
    duration_s: float
    labels: dict[str, float]


def write_song(
    folder: Store,
    seed: int,
    index: int,
    min_s: float = 3.5,
    max_s: float = 8.0,
    format_shares: Mapping[str, float] = FORMAT_SHARES,
) -> SongRow:
    """Render and encode song ``index``, and return its row. An existing file is kept.

    A file appears under its name only when complete, so an interrupted synthesis continues where it stopped.
    """
    song = describe_song(seed, index, min_s, max_s)
    path = song_path(seed, index, format_shares)
    if not folder.exists(path):
        folder.write_bytes(path, encode(render(song), path.rpartition(".")[2]))
    labels = label_song(song)
    return SongRow(index=index, path=path, artist=song.artist, duration_s=song.duration_s, labels=labels)


def song_path(seed: int, index: int, format_shares: Mapping[str, float] = FORMAT_SHARES) -> str:
    """Return the song's path in the corpus folder; its format is drawn from ``format_shares``."""
    suffix = choose(stream(seed, "file", index), format_shares)
    return f"{SONGS_FOLDER}/{index // FOLDER_SONGS:04d}/song-{index:07d}.{suffix}"


def encode(wave_TC: np.ndarray, suffix: str) -> bytes:
    """Encode float32 (T, C) in [-1, 1] at 44.1 kHz as a file with the given suffix."""
    if suffix not in ENCODERS:
        raise ValueError(f"format {suffix!r} is none of {sorted(ENCODERS)}")
    file = io.BytesIO()
    soundfile.write(file, wave_TC, RATE, **ENCODERS[suffix])
    return file.getvalue()


def write_table(folder: Store, rows: Iterable[SongRow]) -> None:
    """Write ``songs.parquet`` (rows by index, labels as float32 (K,)) and ``vocabulary.json``."""
    ordered = sorted(rows, key=lambda row: row["index"])
    labels_NK = np.array([VOCABULARY.encode(row["labels"]) for row in ordered]).reshape(-1, len(VOCABULARY))
    columns: dict[str, object] = {
        name: [row[name] for row in ordered] for name in ("index", "path", "artist", "duration_s")
    }
    columns["labels"] = pa.FixedSizeListArray.from_arrays(labels_NK.reshape(-1), len(VOCABULARY))
    folder.write_bytes(VOCABULARY_FILE, json.dumps(json.loads(VOCABULARY.to_json()), indent=1).encode())
    folder.write_bytes(SONGS_TABLE, table_bytes(pa.table(columns)))
