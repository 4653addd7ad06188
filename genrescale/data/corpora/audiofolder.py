"""``audiofolder``: Hugging Face's folder format, with metadata tables or with label folders.

Layout (huggingface.co/docs/datasets/audio_dataset): any number of ``metadata.csv``, ``.jsonl`` or ``.parquet`` files,
each with a column ``file_name``, a path relative to the table's folder. Without tables, a song's label is the folder
that contains it. The first folder (below ``data`` if there is one) gives the split if it is called train, validation,
test or another name in SPLIT_FOLDERS; a column ``split`` has priority.

Labels are in the column ``label`` or ``labels`` (another: ``label=genre``): ``rock|live``, a list, or the number of a
class that a Parquet file names in its Hugging Face features. Without such a column, a song's label is its folder. The
columns ``artist`` and ``group`` are optional, and ``columns`` may rename them. Folders cannot be listed over HTTP: name
the tables, ``metadata=[train/metadata.csv]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.corpora.cells import (
    SPLIT_NAMES,
    carried,
    official_split,
    one_form,
    tag_names,
    texts,
    vocabulary_of,
)
from genrescale.data.corpora.listing import Listing
from genrescale.data.corpora.reading import (
    Columns,
    column,
    open_parquet,
    optional_column,
    read_columns,
    read_parquet,
)
from genrescale.data.corpora.song_addresses import canonical, key_source, resolve, root_of
from genrescale.data.corpora.walking import PassedOver, listed_files, songs_among
from genrescale.storage.json_bytes import read_object
from genrescale.storage.parquet import ParquetTable
from genrescale.storage.store import Store

METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
SPLIT_FOLDERS = SPLIT_NAMES | {"dev": "validation", "testing": "test", "eval": "test", "evaluation": "test"}
LABEL_COLUMNS = ("label", "labels")


UNLISTED = "songs that no table names"


def list_songs(
    audio: str, label: str = "", metadata: Sequence[str] = (), columns: Mapping[str, str] | None = None
) -> tuple[list[Song], Vocabulary]:
    """List the songs of all tables, or those of the folder if there are no tables, as ``read_listing`` does."""
    return read_listing(audio, label, metadata, columns).strict()


def read_listing(
    audio: str, label: str = "", metadata: Sequence[str] = (), columns: Mapping[str, str] | None = None
) -> Listing:
    """List the songs of all tables, or those of the folder if there are no tables, and the files passed over.

    Raises FileNotFoundError if there is no folder or table, and ValueError for a song without a label and for an
    unusable table or row.
    """
    store = Store(audio)
    files, passed = ([], PassedOver()) if metadata else listed_files(store)
    tables = metadata or [path for path in files if PurePosixPath(path).name in METADATA_NAMES]
    if tables:
        songs = [song for table in tables for song in _of_table(store, table, label, columns or {})]
        named = {canonical(song.address) for song in songs}
        found = songs_among((path for path in files if path not in set(tables)), passed)
        unlisted = [path for path in found if canonical(f"{root_of(store)}/{path}") not in named]
        passed.add(UNLISTED, *unlisted)
        passed.songs, passed.tables = len(found) - len(unlisted), len(files) and len(tables)
    elif label or columns:
        needs = f"label={label}" if label else f"columns={columns}"
        raise FileNotFoundError(f"audio={audio} holds none of {list(METADATA_NAMES)}, which {needs} needs")
    else:
        root = root_of(store)
        songs = [
            Song(song_key(path), f"{root}/{path}", "", carried([folder_label(path, audio)]), folder_split(path))
            for path in songs_among(files, passed)
        ]
        passed.songs = len(songs)
    if not songs:
        raise ValueError(f"audio={audio} has no song and none of {list(METADATA_NAMES)} with a row")
    return Listing(songs, vocabulary_of([song.labels for song in songs], audio), passed=passed)


def _of_table(store: Store, name: str, label: str, columns: Mapping[str, str]) -> list[Song]:
    where, root = f"{store.uri}/{name}", root_of(store)
    table, classes = read_features(store, name)
    paths = texts(column(table, columns.get("path", "file_name"), where))
    label_column = label or columns.get("labels") or next((known for known in LABEL_COLUMNS if known in table), "")
    cells = column(table, label_column, where) if label_column else None
    artists, splits, groups = (
        optional_column(table, name, columns, len(paths), where) for name in ("artist", "split", "group")
    )
    folder = name.rpartition("/")[0]
    songs = []
    for i, path in enumerate(paths):
        row = f"{where}, row {i + 1}"
        if not path:
            raise ValueError(f"{row}: file_name is empty")
        path = f"{folder}/{path}" if folder else path
        tags = class_tags(cells[i], classes.get(label_column, ()), row) if cells else [folder_label(path, row)]
        split = official_split(splits[i], row) or folder_split(path)
        key, address = song_key(key_source(root, path)), resolve(root, path, row)
        songs.append(Song(key, address, one_form(artists[i]), carried(tags), split, group=one_form(groups[i])))
    return songs


def folder_split(path: str) -> str | None:
    folders = path.split("/")[:-1]
    return SPLIT_FOLDERS.get(next(iter(folders[1:] if folders[:1] == ["data"] else folders), ""))


def folder_label(path: str, where: str) -> str:
    folder = path.rpartition("/")[0].rpartition("/")[2]
    if not folder or folder in SPLIT_FOLDERS:
        raise ValueError(f"{where}: {path} has no label: neither a column (+options.label=...) nor a label folder")
    return one_form(folder)


def read_features(store: Store, name: str) -> tuple[Columns, dict[str, list[str]]]:
    """Read a table, and the class names of its columns that hold class numbers.

    Of audio embedded in a Parquet file, only the path is read.
    """
    if not name.endswith(".parquet"):
        return read_columns(store, name), {}
    file = open_parquet(store, name)
    where, kept = f"{store.uri}/{name}", [path for path in file.leaves if not path.endswith(".bytes")]
    return read_parquet(file, where, kept), _class_names(file, where)


def _class_names(file: ParquetTable, where: str) -> dict[str, list[str]]:
    described = read_object(file.metadata.get(b"huggingface", b"{}"), f"{where}, its Hugging Face features")
    try:
        features = described.get("info", {}).get("features") or {}
        return {name: found for name, feature in features.items() if (found := _names_in(feature))}
    except (AttributeError, TypeError):
        raise ValueError(f"{where}: its Hugging Face features cannot be read") from None


def _names_in(feature: Any) -> list[str]:
    """Return the names of a ClassLabel or of a list of them, which Hugging Face writes in two forms."""
    if isinstance(feature, list):
        feature = feature[0] if feature else {}
    if not feature or not isinstance(feature, dict):
        return []  # of audio, say, which has neither names nor another feature inside
    return list(map(str, feature["names"])) if "names" in feature else _names_in(feature.get("feature", {}))


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
