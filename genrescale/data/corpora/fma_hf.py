"""``fma_hf``: FMA small as in Hugging Face datasets like ``rpmon/fma-genre-classification``; 6,400 + 1,600 songs.

Layout: Parquet files named by split, ``data/train-00000-of-00003.parquet``, or the metadata tables of ``audiofolder``.
A row names its file (column ``file_name``, ``path``, or the path in ``audio``), relative to ``audio``, and one of 8
genres (``genre``, ``genres``, ``label`` or ``genre_id``), by name or number. The numbers' names are in the Parquet
file's Hugging Face features, or given as ``names=[Electronic,...]``. The split differs from that of ``fma``. Artists
are not named, so they may occur in several splits; tables with a column for them, or for groups, name it by
``columns``.

Audio is in files beside the tables, or embedded in the Parquet files by Hugging Face's ``datasets``, in a column of
structs with ``bytes`` and ``path``. Embedded songs are read from the table (``data/decoding/in_parquet.py``), or from
the path if ``bytes`` is null.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from genrescale.audio import Song, Vocabulary, song_key
from genrescale.data.corpora.audiofolder import METADATA_NAMES, SPLIT_FOLDERS, class_tags, folder_split, read_features
from genrescale.data.corpora.cells import carried, one_form, vocabulary_of
from genrescale.data.corpora.reading import Columns, column, embedded_rows, open_parquet, optional_column
from genrescale.data.corpora.song_addresses import embedded_address, key_source, resolve, root_of
from genrescale.data.corpora.walking import listed_files
from genrescale.storage.store import Store

FILE_COLUMNS = ("file_name", "path", "audio")
GENRE_COLUMNS = ("genre", "genres", "label", "genre_id")
_WORD = re.compile(r"[a-z]+")


def list_songs(
    audio: str,
    tables: Sequence[str] = (),
    genre: str = "",
    names: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
) -> tuple[list[Song], Vocabulary]:
    """List the songs of all tables. ``tables`` names them if they cannot be listed, ``genre`` the column of genres.

    Raises FileNotFoundError if there is no table, or if the first song beside a table does not exist. Raises ValueError
    for an unusable row, and for genre numbers without names.
    """
    store = Store(audio)
    tables = tables or [path for path in listed_files(store)[0] if _is_table(path)]
    if not tables:
        raise FileNotFoundError(f"audio={audio} holds no .parquet file and none of {list(METADATA_NAMES)}")
    songs = [song for table in tables for song in _of_table(store, table, genre, names, columns or {})]
    if not songs:
        raise ValueError(f"audio={audio}: {', '.join(tables)} have no rows")
    return songs, vocabulary_of([song.labels for song in songs], audio)


def _is_table(path: str) -> bool:
    name = PurePosixPath(path).name
    return name.endswith(".parquet") or name in METADATA_NAMES


def _of_table(store: Store, name: str, genre: str, names: Sequence[str], columns: Mapping[str, str]) -> list[Song]:
    where, root = f"{store.uri}/{name}", root_of(store)
    table, classes = read_features(store, name)
    source = columns.get("path") or _source(table, where)
    files, inside = column(table, source, where), _inside(store, name, source, len(table[source]))
    genre_column = genre or columns.get("labels") or _first_of(GENRE_COLUMNS, table, where)
    cells, names = column(table, genre_column, where), names or classes.get(genre_column, ())
    # train-00000-of-00003.parquet, train.parquet, or a table in the folder train
    split = SPLIT_FOLDERS.get((_WORD.findall(PurePosixPath(name).name) or [""])[0]) or folder_split(name)
    artists, groups = (optional_column(table, known, columns, len(files), where) for known in ("artist", "group"))
    songs = []
    for i, (file, cell) in enumerate(zip(files, cells, strict=True), 1):
        path, tags = _path(file), class_tags(cell, names, f"{where}, row {i}")
        if not path and not inside[i - 1]:
            raise ValueError(f"{where}, row {i}: no file is named, and the row holds no audio")
        if not names and (numbers := [tag for tag in tags if tag.isdigit()]):
            raise ValueError(f"{where}, row {i}: genre {numbers[0]} has no name; give the names: +options.names=[...]")
        row = f"{where}, row {i}"
        address = embedded_address(f"{root}/{name}", source, i - 1) if inside[i - 1] else resolve(root, path, row)
        key = song_key(key_source(root, path) or f"{name.removesuffix('.parquet')} row {i}")
        artist, group = one_form(artists[i - 1]), one_form(groups[i - 1])
        songs.append(Song(key, address, artist, carried(tags), split or folder_split(path), group=group))
    beside = [song for song, is_inside in zip(songs, inside, strict=True) if not is_inside]
    _require_file([song for song in beside if song.address.startswith(f"{root}/")], where)
    return songs


def _source(table: Columns, where: str) -> str:
    """Choose the column of files. A column of structs has priority over a plain name, whose file may not exist."""
    structs = [name for name in FILE_COLUMNS if name in table and isinstance(next(iter(table[name]), None), dict)]
    return structs[0] if structs else _first_of(FILE_COLUMNS, table, where)


def _inside(store: Store, name: str, source: str, num_rows: int) -> list[bool]:
    """Return whether each row's audio is embedded in the table."""
    return embedded_rows(open_parquet(store, name), source) if name.endswith(".parquet") else [False] * num_rows


def _first_of(known: Sequence[str], table: Columns, where: str) -> str:
    present = [name for name in known if name in table]
    if not present:
        raise ValueError(f"{where} has none of the columns {list(known)}; it has {sorted(table)}")
    return present[0]


def _path(cell: Any) -> str:
    path = cell.get("path") if isinstance(cell, dict) else cell
    return str(path) if path else ""


def _require_file(songs: Sequence[Song], where: str) -> None:
    """Raise FileNotFoundError if the first song is missing, instead of letting all songs fail one by one."""
    first = songs[0].path if songs else ""
    folder, _, name = first.rpartition("/")
    if first and not Store(folder or "/").exists(name):
        raise FileNotFoundError(f"{where}: {first} does not exist; songs must be embedded in the table or be beside it")
