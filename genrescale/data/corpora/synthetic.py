"""The synthetic corpus of ``jobs/synthesize_corpus.py``: songs.parquet and vocabulary.json beside the audio."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.corpora.reading import below, root_of
from genrescale.data.synthesis.write import SONGS_TABLE, VOCABULARY_FILE
from genrescale.storage.parquet import table_of
from genrescale.storage.store import Store

REMEDY = "make one with: python jobs/synthesize_corpus.py"
COLUMNS = ["path", "artist", "labels"]


def list_songs(audio: str) -> tuple[list[Song], Vocabulary]:
    """The songs of the corpus folder ``audio`` in the order of their index, and its vocabulary.

    A song's key comes from its path inside the folder, so moving a corpus changes nothing. Its labels map the tags
    that it carries to 1 and every regress tag to its value. Raises FileNotFoundError where there is no corpus,
    ValueError where its tables cannot be used.
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
    """Both files of the corpus, checked against each other."""
    for name in (SONGS_TABLE, VOCABULARY_FILE):
        if not store.exists(name):
            raise FileNotFoundError(f"audio={store.uri} holds no synthetic corpus: {name} is missing; {REMEDY}")
    try:
        vocabulary = Vocabulary.from_json(store.read_bytes(VOCABULARY_FILE).decode())
        table = table_of(store.read_bytes(SONGS_TABLE), columns=COLUMNS)
        width = table.schema.field("labels").type.list_size
    except (pa.ArrowException, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the tables of the synthetic corpus audio={store.uri} cannot be read: {error}") from error
    if width != len(vocabulary):
        raise ValueError(f"audio={store.uri}: songs have {width} labels, the vocabulary has {len(vocabulary)} tags")
    return table, vocabulary
