"""Compute what a Parquet file would take in memory, before pyarrow opens it.

A file of 400 kB can hold 4 GB, and its footer need not say so. So the sizes come from the header of every page: pyarrow
allocates by these. A file with types that could run code is refused here too.
Source: github.com/apache/parquet-format, parquet.thrift; the numbers below are those of its fields and enumerations.
"""

from __future__ import annotations

import base64
import binascii
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from genrescale.storage.thrift import Struct, read_struct

_MAGIC = b"PAR1"
_MAX_FOOTER = 16 << 20
_HEADER_BYTES, _MAX_HEADER = 4 << 10, 1 << 20
_MAX_PAGE = (1 << 31) - 1
_ARROW_SCHEMA, _EXTENSION = b"ARROW:schema", b"ARROW:extension:name"
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8}  # by physical type; that of type 7 is in the schema
_BYTES, _FIXED = 6, 7
_PLAIN_DICTIONARY, _DELTA_BYTES, _DICTIONARY = 2, 7, 8  # encodings that store a text in fewer bytes than it has
_OFFSET_BYTES = 4
_DATA, _OF_DICTIONARY = (0, 3), 2  # page types
_DETAILS = {0: (5, 2), 3: (8, 4), 2: (7, 2)}  # by page type: the field with the details, and in it that of the encoding
_MAX_NESTED = 32
_CODECS = {0: "", 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_MAX_DICTIONARY = 16 << 20


@dataclass(frozen=True)
class Leaf:
    """A column, or a column inside a nested one: its dotted path, physical type and bytes per value."""

    path: str
    kind: int
    width: int

    def is_in(self, columns: Sequence[str] | None) -> bool:
        return columns is None or any(self.path == name or self.path.startswith(f"{name}.") for name in columns)


@dataclass(frozen=True)
class Chunk:
    """A leaf's values in a row group: where the pages are (bytes), their codec, and the stated number of values."""

    leaf: Leaf
    start: int
    num_bytes: int
    num_values: int
    codec: int


@dataclass(frozen=True)
class Footer:
    """``groups`` has a chunk for each leaf, ``group_rows`` the number of rows of each group."""

    num_rows: int
    leaves: list[Leaf]
    groups: list[list[Chunk]]
    group_rows: list[int]


@dataclass(frozen=True)
class Page:
    """A page: ``stored`` bytes from ``start``, which become ``unpacked`` bytes. A dictionary page has no values."""

    start: int
    num_values: int
    stored: int
    unpacked: int
    encoding: int
    is_dictionary: bool


@dataclass
class Sizes:
    """Bytes that some leaves take in the file, and at most in memory."""

    stored: int = 0
    decoded: int = 0


def read_footer(file: IO[bytes] | pa.NativeFile) -> Footer:
    """Read the footer of a Parquet file. Raises ValueError for any other file, and for types that could run code."""
    size = file.seek(0, os.SEEK_END)
    tail = _read(file, max(0, size - 8), 8)
    if size < 12 or tail[4:] != _MAGIC:
        raise ValueError("it is not a Parquet file, or it is cut off")
    (length,) = struct.unpack("<I", tail[:4])
    if length > min(_MAX_FOOTER, size - 8):
        raise ValueError(f"it states a footer of {length:,} bytes")
    try:
        meta, _ = read_struct(_read(file, size - 8 - length, length))
        _refuse_extensions(meta.get(5, []))
        leaves = list(_leaves(meta[2]))
        if any(len(group[1]) != len(leaves) for group in meta[4]):
            raise ValueError("a row group has other columns than its schema")
        groups = [[_chunk(column, leaf) for column, leaf in zip(group[1], leaves, strict=True)] for group in meta[4]]
        rows = [int(group[3]) for group in meta[4]]
        if min([*rows, int(meta[3])]) < 0:
            raise ValueError("a number of rows is negative")
        return Footer(int(meta[3]), leaves, groups, rows)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError("its footer is damaged") from None


def sizes_of(file: IO[bytes] | pa.NativeFile, footer: Footer, columns: Sequence[str] | None) -> Sizes:
    """Return the sizes of ``columns`` (names or dotted paths; None: all). Raises ValueError if a page is damaged."""
    sizes = Sizes()
    for group in footer.groups:
        for chunk in group:
            if chunk.leaf.is_in(columns):
                found = list(pages(file, chunk))
                sizes.stored += sum(page.stored for page in found)
                sizes.decoded += _decoded(file, chunk, found)
    return sizes


def pages(file: IO[bytes] | pa.NativeFile, chunk: Chunk) -> Iterator[Page]:
    """Yield the pages of a chunk as their headers describe them. Raises ValueError if one is damaged."""
    place, end, seen = chunk.start, chunk.start + chunk.num_bytes, 0
    while place < end and seen < chunk.num_values:  # pyarrow reads no more pages either
        header, length = _page_header(file, place)
        page = _page(header, place + length)
        yield page
        seen += page.num_values
        place = page.start + page.stored


def _decoded(file: IO[bytes] | pa.NativeFile, chunk: Chunk, found: list[Page]) -> int:
    """Return the bytes that the pages of a chunk take in memory at most."""
    num_values, unpacked = sum(page.num_values for page in found), sum(page.unpacked for page in found)
    if chunk.leaf.kind != _BYTES:
        return max(num_values * chunk.leaf.width, unpacked)
    total, longest = num_values * _OFFSET_BYTES + unpacked, 0
    for page in found:
        if page.is_dictionary:
            longest = max(longest, _longest_text(file, chunk.codec, page))
        elif page.encoding == _DELTA_BYTES:  # a text may repeat the one before it in no bytes
            total += page.num_values * page.unpacked
        elif page.encoding in (_PLAIN_DICTIONARY, _DICTIONARY):
            total += page.num_values * longest
    return total


def _longest_text(file: IO[bytes] | pa.NativeFile, codec: int, page: Page) -> int:
    """Return the bytes of the longest text in a dictionary, or of all if it is large or has an old codec."""
    if page.unpacked > _MAX_DICTIONARY or codec not in _CODECS:
        return page.unpacked
    data = _read(file, page.start, page.stored)
    if name := _CODECS[codec]:
        data = pa.decompress(data, page.unpacked, name, asbytes=True)
    longest = place = 0
    while place + 4 <= len(data):
        length = int.from_bytes(data[place : place + 4], "little")
        longest, place = max(longest, length), place + 4 + length
    return longest


def _refuse_extensions(entries: list[Struct]) -> None:
    """Refuse extension types. pyarrow creates the types of this entry as it opens a file; those of Ray unpickle."""
    for entry in entries:
        if entry[1] != _ARROW_SCHEMA:
            continue
        try:
            text = base64.b64decode(entry.get(2, b""), validate=True)
        except binascii.Error:
            raise ValueError("its Arrow schema is damaged") from None
        if _EXTENSION in text:
            raise ValueError(
                "it has a column with an extension type, which can run code when it is read; write plain types only"
            )


def _leaves(elements: list[Struct]) -> Iterator[Leaf]:
    """Yield the leaves of a schema, which lists its tree depth first, starting with the root."""
    open_nodes = [(elements[0].get(5, 0), "")]
    for element in elements[1:]:
        while open_nodes and not open_nodes[-1][0]:
            open_nodes.pop()
        left, prefix = open_nodes.pop()  # IndexError: more elements than the tree has
        open_nodes.append((left - 1, prefix))
        path = prefix + element[4].decode()
        if children := element.get(5, 0):
            if len(open_nodes) > _MAX_NESTED:
                raise ValueError(f"its columns are nested more than {_MAX_NESTED} deep")
            open_nodes.append((children, f"{path}."))
        else:
            kind = element[1]
            width = element[2] if kind == _FIXED else _WIDTHS.get(kind, 1)
            if not 0 <= width <= _MAX_PAGE:
                raise ValueError(f"it states {width} bytes for each value of {path!r}")
            yield Leaf(path, kind, width)


def _chunk(column: Struct, leaf: Leaf) -> Chunk:
    if column.get(1):
        raise ValueError("its data are in another file")
    meta = column[3]
    start, dictionary = meta[9], meta.get(11, 0)
    start = dictionary if 0 < dictionary < start else start
    if min(start, meta[7], meta[5]) < 0:
        raise ValueError("its footer is damaged")
    return Chunk(leaf, start, num_bytes=meta[7], num_values=meta[5], codec=meta[4])


def _page_header(file: IO[bytes] | pa.NativeFile, place: int) -> tuple[Struct, int]:
    wanted = _HEADER_BYTES
    while True:
        data = _read(file, place, wanted)
        try:
            return read_struct(data)
        except IndexError:
            if len(data) < wanted or wanted >= _MAX_HEADER:  # with long statistics
                raise ValueError("the header of a page is damaged") from None
            wanted *= 16


def _page(header: Struct, start: int) -> Page:
    try:
        kind, (details, encoding) = header[1], _DETAILS.get(header[1], (0, 0))
        num_values = header[details][1] if kind in _DATA else 0
        found = [header[2], header[3], num_values, header[details][encoding] if details else 0]
    except (KeyError, TypeError):
        raise ValueError("the header of a page is damaged") from None
    if not all(isinstance(number, int) and 0 <= number <= _MAX_PAGE for number in found):
        raise ValueError("the header of a page is damaged")
    unpacked, stored, _, encoding = found
    return Page(start, num_values, stored, unpacked, encoding, is_dictionary=kind == _OF_DICTIONARY)


def _read(file: IO[bytes] | pa.NativeFile, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)
