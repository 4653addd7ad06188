"""``audiofolder``: Hugging Face's folder format, with metadata tables or with label folders.

Layout (huggingface.co/docs/datasets/audio_dataset): any number of ``metadata.csv``, ``.jsonl`` or ``.parquet`` files,
each with a column ``file_name``, a path relative to the table's folder. Without tables, a song's label is the folder
that contains it. The first folder (below ``data`` if there is one) gives the split if it is called train, validation,
test or another name in SPLIT_FOLDERS; a column ``split`` has priority.

Labels are in the column ``label`` or ``labels`` (another: ``label=genre``): ``rock|live``, a list, or the number of a
class that a Parquet file names in its Hugging Face features. Without such a column, a song's label is its folder. The
column ``artist`` is optional. Folders cannot be listed over HTTP: name the tables, ``metadata=[train/metadata.csv]``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.corpora.reading import (
    SPLIT_NAMES,
    Columns,
    carried,
    column,
    is_audio,
    listed_files,
    official_split,
    open_parquet,
    read_columns,
    read_parquet,
    resolve,
    root_of,
    tag_names,
    texts,
    vocabulary_of,
)
from genrescale.storage.store import Store

METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SPLIT_FOLDERS = SPLIT_NAMES | {"dev": "validation", "testing": "test", "eval": "test", "evaluation": "test"}
LABEL_COLUMNS = ("label", "labels")


def list_songs(audio: str, label: str = "", metadata: Sequence[str] = ()) -> tuple[list[Song], Vocabulary]:
    """List the songs of all tables, or those of the folder if there are no tables.

    Raises FileNotFoundError if there is no folder or table, and ValueError for a song without a label and for an
    unusable table or row.
    """
    store = Store(audio)
    files = [] if metadata else listed_files(store)
    tables = metadata or [path for path in files if PurePosixPath(path).name in METADATA_NAMES]
    if tables:
        songs = [song for table in tables for song in _of_table(store, table, label)]
    elif label:
        raise FileNotFoundError(f"audio={audio} holds none of {list(METADATA_NAMES)}, which label={label} needs")
    else:
        root = root_of(store)
        songs = [
            Song(song_key(path), f"{root}/{path}", "", carried([folder_label(path, audio)]), folder_split(path))
            for path in files
            if is_audio(path)
        ]
    if not songs:
        raise ValueError(f"audio={audio} has no song and none of {list(METADATA_NAMES)} with a row")
    return songs, vocabulary_of([song.labels for song in songs], audio)


def _of_table(store: Store, name: str, label: str) -> list[Song]:
    where, root = f"{store.uri}/{name}", root_of(store)
    table, classes = read_features(store, name)
    paths = texts(column(table, "file_name", where))
    label_column = label or next((known for known in LABEL_COLUMNS if known in table), "")
    cells = column(table, label_column, where) if label_column else None
    nothing = [""] * len(paths)
    artists, splits = texts(table.get("artist", nothing)), texts(table.get("split", nothing))
    folder = name.rpartition("/")[0]
    songs = []
    for i, path in enumerate(paths):
        row = f"{where}, row {i + 1}"
        if not path:
            raise ValueError(f"{row}: file_name is empty")
        path = f"{folder}/{path}" if folder else path
        tags = class_tags(cells[i], classes.get(label_column, ()), row) if cells else [folder_label(path, row)]
        split = official_split(splits[i], row) or folder_split(path)
        songs.append(Song(song_key(path), resolve(root, path), artists[i], carried(tags), split))
    return songs


def folder_split(path: str) -> str | None:
    folders = path.split("/")[:-1]
    return SPLIT_FOLDERS.get(next(iter(folders[1:] if folders[:1] == ["data"] else folders), ""))


def folder_label(path: str, where: str) -> str:
    folder = path.rpartition("/")[0].rpartition("/")[2]
    if not folder or folder in SPLIT_FOLDERS:
        raise ValueError(f"{where}: {path} has no label: neither a column (+options.label=...) nor a label folder")
    return folder


def read_features(store: Store, name: str) -> tuple[Columns, dict[str, list[str]]]:
    """Read a table, and the class names of its columns that hold class numbers.

    Of audio embedded in a Parquet file, only the path is read.
    """
    if not name.endswith(".parquet"):
        return read_columns(store, name), {}
    file = open_parquet(store, name)
    paths = [leaf.path for leaf in (file.schema.column(i) for i in range(len(file.schema)))]
    kept = [path for path in paths if not path.endswith(".bytes")]
    return read_parquet(file, f"{store.uri}/{name}", kept), _class_names(file)


def _class_names(file: pq.ParquetFile) -> dict[str, list[str]]:
    features = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features")
    return {name: names for name, feature in (features or {}).items() if (names := _names_in(feature))}


def _names_in(feature: Any) -> list[str]:
    """Return the names of a ClassLabel or of a list of them, which Hugging Face writes in two forms."""
    if isinstance(feature, list):
        feature = feature[0] if feature else {}
    if not feature or not isinstance(feature, dict):
        return []  # e.g. an audio feature, which has neither names nor an inner feature
    return feature["names"] if "names" in feature else _names_in(feature.get("feature", {}))


def class_tags(cell: Any, names: Sequence[str], where: str) -> list[str]:
    """Return the tags of a cell; if the classes have names, cells hold class numbers."""
    try:
        tags = tag_names(cell)
        return [names[_index(tag, len(names))] for tag in tags] if names else tags
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _index(tag: str, count: int) -> int:
    if not tag.isdigit() or int(tag) >= count:
        raise ValueError(f"{tag!r} is not the number of one of {count} classes")
    return int(tag)
