"""What the corpora share: tables as columns, addresses of songs, official splits and vocabularies.

Tables are read whole and exactly: a row with too many or too few cells, text that is not UTF-8, or a column that is
missing is a ValueError with the file and the row (the first row below the header is row 1).
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from genrescale.addresses import public_address
from genrescale.audio import Tag, Vocabulary
from genrescale.storage.store import Store
from genrescale.storage.web import WEB

AUDIO_SUFFIXES = (
    *(".aac", ".aif", ".aiff", ".au", ".flac", ".m4a", ".mka", ".mp2", ".mp3"),
    *(".mp4", ".oga", ".ogg", ".opus", ".wav", ".webm", ".wma", ".wv"),
)
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
SEPARATOR = "|"
SPLIT_NAMES = {
    **{"train": "train", "training": "train", "test": "test"},
    **{"validation": "validation", "valid": "validation", "val": "validation"},
}
_MAX_CELL = 1 << 26  # biographies in FMA's tables are longer than the csv module's own limit

Columns = dict[str, list[Any]]


def root_of(store: Store) -> str:
    """The address to put before a path of ``store``, for any process, whatever its working folder."""
    local = store.local_path()
    return str(local) if local is not None else store.uri.rstrip("/")


def below(root: str, path: str, where: str = "") -> str:
    """The address of the file ``path`` below ``root``. Raises ValueError, with ``where``, for a path that leads out."""
    depth, at = 0, f"{where}: " if where else ""
    for part in path.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            raise ValueError(f"{at}the path {path!r} leads out of {root}")
    if "://" in path or path.startswith("/"):
        raise ValueError(f"{at}the path {path!r} does not lie below {root}")
    return f"{root}/{path}"


def resolve(root: str, path: str, where: str) -> str:
    """The address of a song in a table of the folder ``root``: a URI, an absolute path, or a path ``below`` it.

    Raises ValueError, with ``where``, for a path that leads out, and for a file of this machine in a table that lies
    elsewhere: who can write there does not choose what is read here.
    """
    if "://" in root and path.lower().startswith(("/", "file:")):
        raise ValueError(f"{where}: the path {path!r} is a file of this machine, and the table is not on it")
    return path if "://" in path or path.startswith("/") else below(root, path, where)


def key_source(root: str, path: str) -> str:
    """What the key of a song is made of: its path as the table has it, or its whole URL where that has a query."""
    return f"{root}/{path}" if root.startswith(WEB) and "://" not in path and re.search("[?#]", path) else path


def listed_files(store: Store) -> list[str]:
    """Every file below a folder that is not hidden, sorted.

    Raises FileNotFoundError where there is no folder, ValueError for HTTP, which has no listing to rely on.
    """
    if store.uri.startswith(WEB):
        raise ValueError(f"{store.uri} cannot be listed over HTTP; name its tables, or its songs in one (corpus=table)")
    if not store.exists():
        raise FileNotFoundError(f"audio={store.uri} does not exist")
    return [path for path in store.list() if not any(part.startswith(".") for part in path.split("/"))]


def is_audio(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in AUDIO_SUFFIXES


def split_address(address: str) -> tuple[Store, str]:
    """The folder and the name of a file; a URL's query stays with the name."""
    path, mark, query = address.partition("?") if address.startswith(WEB) else (address, "", "")
    folder, slash, name = path.rpartition("/")
    return Store(folder or slash or "."), f"{name}{mark}{query}"


def read_columns(store: Store, name: str, delimiter: str = "", remedy: str = "") -> Columns:
    """A table with a header, as lists of equal length by column; its kind is its suffix.

    CSV and TSV cells stay text: a genre called "80" or "None" is a name. In JSON lines an absent key is None.
    ``delimiter`` overrules the suffix of a text table. ``remedy`` ends the message where the file is missing.
    """
    where = public_address(f"{store.uri}/{name}")
    suffix = PurePosixPath(where).suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise ValueError(f"{where} is none of the tables that can be read: {', '.join(TABLE_SUFFIXES)}")
    if suffix == ".parquet":
        return read_parquet(open_parquet(store, name, remedy), where)
    if suffix == ".jsonl":
        return _columns_of_lines(_text(store, name, remedy), where)
    rows = _cells(_text(store, name, remedy), delimiter or ("\t" if suffix == ".tsv" else ","), where, header=True)
    header = next(rows, [])
    _refuse_twice(header, where)
    columns: list[list[str]] = [[] for _ in header]
    for i, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise ValueError(
                f"{where}, row {i}: {len(row)} cells, but the header has {len(header)}; quote or mend the row"
            )
        for column, cell in zip(columns, row, strict=True):
            column.append(cell)
    return dict(zip(header, columns, strict=True))


def read_rows(store: Store, name: str, delimiter: str = "\t", remedy: str = "") -> Iterator[list[str]]:
    """The rows of a text table without a header, or of rows of several lengths; empty lines are passed over."""
    return _cells(_text(store, name, remedy), delimiter, f"{store.uri}/{name}", header=False)


def read_lines(store: Store, name: str, remedy: str = "") -> list[str]:
    """The lines of a text file that are not empty, without the space around them."""
    try:
        return [stripped for line in _text(store, name, remedy) if (stripped := line.strip())]
    except UnicodeDecodeError as error:
        raise ValueError(f"{store.uri}/{name}: {error}; save it as UTF-8") from None


def open_parquet(store: Store, name: str, remedy: str = "") -> pq.ParquetFile:
    local = store.local_path(name)
    # a local file is read by column: audio that lies in the same file stays on the disk
    source = local if local is not None and local.exists() else io.BytesIO(_bytes(store, name, remedy))
    try:
        return pq.ParquetFile(source)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last two: damage to its own description
        raise ValueError(f"{store.uri}/{name} cannot be read as Parquet: {error}") from None


def read_parquet(file: pq.ParquetFile, where: str, columns: list[str] | None = None) -> Columns:
    try:
        table = file.read(columns=columns)
        _refuse_twice(table.column_names, where)
        return table.to_pydict()
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:  # the last two: text, dates
        raise ValueError(f"{where} cannot be read as Parquet: {error}") from None


def embedded_address(file: str, column: str, row: int) -> str:
    """The address of an encoded song in a row (from 0) of a Parquet file; ``data/in_parquet.py`` reads it."""
    return f"{file}#{column}/{row}"


def embedded_rows(file: pq.ParquetFile, column: str) -> list[bool]:
    """Whether ``column.bytes`` of each row holds anything; all False where there is no such column.

    Read from the file's statistics where they say so, else a song at a time.
    """
    leaves = [file.schema.column(i).path for i in range(len(file.schema))]
    if (wanted := f"{column}.bytes") not in leaves:
        return [False] * file.metadata.num_rows
    found: list[bool] = []
    for group in range(file.num_row_groups):
        facts = file.metadata.row_group(group)
        statistics = facts.column(leaves.index(wanted)).statistics
        nulls = statistics.null_count if statistics is not None and statistics.has_null_count else None
        if nulls in (0, facts.num_rows):
            found += [nulls == 0] * facts.num_rows
            continue
        for batch in file.iter_batches(batch_size=1, row_groups=[group], columns=[wanted], use_threads=False):
            found.append(bool((batch.column(0)[0].as_py() or {}).get("bytes")))
    return found


def _refuse_twice(names: Sequence[str], where: str) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ValueError(f"{where} has more than one column {twice[0]!r}; rename one")


def column(table: Mapping[str, list[Any]], name: str, where: str, use: str = "") -> list[Any]:
    """Raises ValueError for a missing column, naming those that are there and, if given, its ``use``."""
    if name not in table:
        raise ValueError(f"{where} has no column {name!r}{use}; it has {sorted(table)}")
    return table[name]


def texts(cells: Sequence[Any]) -> list[str]:
    """Cells as text, an absent one as ""."""
    return ["" if cell is None else str(cell) for cell in cells]


def tag_names(cell: Any, separator: str = SEPARATOR) -> list[str]:
    """The tags of one cell: ``rock|live``, a list, a number or nothing; each once, in their order."""
    if cell is None:
        return []
    names = cell.split(separator) if isinstance(cell, str) else cell if isinstance(cell, (list, tuple)) else [cell]
    # name != name: NaN, which pandas writes for a cell that is missing among numbers
    if any(name is None or name != name or isinstance(name, (Mapping, list, tuple, bytes)) for name in names):
        raise ValueError(f"{cell!r} is neither a name nor a list of names")
    # one string for every tag, however many songs carry it
    return list(dict.fromkeys(sys.intern(stripped) for name in names if (stripped := str(name).strip())))


def official_split(cell: str, where: str) -> str | None:
    """ "" is no official split. Raises ValueError for a name that is none."""
    if cell and cell not in SPLIT_NAMES:
        raise ValueError(f"{where}: split {cell!r} is none of {list(SPLIT_NAMES)}")
    return SPLIT_NAMES[cell] if cell else None


def seconds_of(cell: str, where: str) -> float:
    """A length in seconds; "" is 0, which states none. Raises ValueError for anything else."""
    try:
        seconds = float(cell or 0)
    except ValueError:
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        raise ValueError(f"{where}: {cell!r} is no length in seconds")
    return seconds


def most_frequent(labels: Sequence[Sequence[str]], top: int) -> list[str]:
    """The ``top`` tags that most songs carry (0: all), the most frequent first, equally frequent ones by name."""
    counts = Counter(tag for tags in labels for tag in tags)
    ranked = sorted(counts, key=lambda tag: (-counts[tag], tag))
    return ranked[:top] if top else ranked


def carried(tags: Sequence[str], vocabulary: Collection[str] | None = None) -> dict[str, float]:
    """The labels of a song with these tags, as far as the vocabulary has them."""
    return {tag: 1.0 for tag in tags if vocabulary is None or tag in vocabulary}


def vocabulary_of(labels: Sequence[Collection[str]], where: str) -> Vocabulary:
    """The tags of all songs, sorted; exclusive where every song has exactly one."""
    names = sorted({name for tags in labels for name in tags})
    if not names:
        raise ValueError(f"{where} has no label in any row")
    return Vocabulary(tuple(Tag(name) for name in names), exclusive=all(len(set(tags)) == 1 for tags in labels))


def one_of(option: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ValueError(f"option {option}={value!r} is none of {list(allowed)}")
    return value


def _bytes(store: Store, name: str, remedy: str) -> bytes:
    try:
        return store.read_bytes(name)
    except (FileNotFoundError, IsADirectoryError):
        end = f"; {remedy}" if remedy else ""
        raise FileNotFoundError(f"{store.uri}/{name} does not exist{end}") from None


def _text(store: Store, name: str, remedy: str) -> io.TextIOBase:
    # newline="": the csv module itself tells a line break inside of quotes from the end of a row
    return io.TextIOWrapper(io.BytesIO(_bytes(store, name, remedy)), encoding="utf-8-sig", newline="")


def _cells(text: io.TextIOBase, delimiter: str, where: str, header: bool) -> Iterator[list[str]]:
    csv.field_size_limit(_MAX_CELL)
    count = 0
    # published TSVs hold titles like "Heroes" (live) as they are, which a strict reader refuses; but then a quote
    # without its end takes the following rows into its cell, so there no cell may hold a line break
    loose = delimiter == "\t"
    try:
        for row in csv.reader(text, delimiter=delimiter, strict=not loose):
            if loose and any("\n" in cell for cell in row):
                raise csv.Error("a quote does not end on its line")
            if row:
                yield row
                count += 1
    except csv.Error as error:
        raise ValueError(f"{where}, row {count + (not header)}: {error}; quote or mend the row") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}, after row {count - header}: {error}; save it as UTF-8") from None


def _columns_of_lines(text: io.TextIOBase, where: str) -> Columns:
    rows: list[dict[str, Any]] = []
    try:
        for line in text:
            if line.strip():
                rows.append(_object(line, f"{where}, row {len(rows) + 1}"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}, after row {len(rows)}: {error}; save it as UTF-8") from None
    names = dict.fromkeys(key for row in rows for key in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
        if "\\u" in line:  # half of a surrogate pair is JSON, but no text that could be written anywhere
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} holds half of a surrogate pair, which is not Unicode text") from None
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits, a list of thousands of lists
        raise ValueError(f"{where} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f'{where}: expected an object like {{"path": ...}}')
    return found
