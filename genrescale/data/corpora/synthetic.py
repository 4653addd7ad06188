"""``synthetic``: the corpus of ``jobs/synthesize_corpus.py``, songs.parquet and vocabulary.json beside the audio."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.corpora.song_addresses import below, root_of
from genrescale.data.synthesis.write import SONGS_TABLE, VOCABULARY_FILE
from genrescale.storage.json_bytes import JSON_BYTES, read_object
from genrescale.storage.parquet import read_table
from genrescale.storage.store import Store

REMEDY = "make one with: python jobs/synthesize_corpus.py"
COLUMNS = ["path", "artist", "labels"]


def list_songs(audio: str) -> tuple[list[Song], Vocabulary]:
    """List the songs of the corpus folder ``audio`` in the order of their index, and its vocabulary.

    A song's key comes from its path in the folder, so moving a corpus does not change it. Its labels are 1 for the tags
    that it has, and a value for every regress tag. Raises FileNotFoundError if there is no corpus, and ValueError if
    its tables are unusable.
    """
    store = Store(audio)
    table, vocabulary = _read_tables(store)
    names = np.array(vocabulary.names)
    labels_NK = table["labels"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, len(names))
    kept_NK = (labels_NK > 0) | vocabulary.regress_K
    root = root_of(store)
    songs = []
    for path, artist, labels_K, kept_K in zip(
        table["path"].to_pylist(), table["artist"].to_pylist(), labels_NK, kept_NK, strict=True
    ):
        labels = dict(zip(names[kept_K].tolist(), labels_K[kept_K].tolist(), strict=True))
        songs.append(Song(song_key(path), below(root, path), artist=artist, labels=labels))
    return songs, vocabulary


def _read_tables(store: Store) -> tuple[pa.Table, Vocabulary]:
    """Read both files of the corpus and check them against each other."""
    for name in (SONGS_TABLE, VOCABULARY_FILE):
        if not store.exists(name):
            raise FileNotFoundError(f"audio={store.uri} holds no synthetic corpus: {name} is missing; {REMEDY}")
    try:
        vocabulary = Vocabulary.from_fields(read_object(store.read_bytes(VOCABULARY_FILE, JSON_BYTES), VOCABULARY_FILE))
        table = read_table(store, SONGS_TABLE, columns=COLUMNS)
        width = table.schema.field("labels").type.list_size
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the tables of the synthetic corpus audio={store.uri} cannot be read: {error}") from error
    if width != len(vocabulary):
        raise ValueError(f"audio={store.uri}: songs have {width} labels, the vocabulary has {len(vocabulary)} tags")
    return table, vocabulary
