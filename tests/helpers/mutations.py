"""Seeded damage to songs and tables, and what must hold for whatever comes out: the base of the fuzz tests.

Mutation i of a kind depends on (kind, i) alone, so a failure names what to run again.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from helpers.formats import encoded

from genrescale.audio import Song, Vocabulary
from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import list_corpus
from genrescale.data.decoding.decode import DecodeError, decode_pcm
from genrescale.data.decoding.decoders import MAX_SONG_S
from genrescale.data.sharding.plan import make_plan

SONG_S = 0.3
IN_PROCESS: tuple[str, ...] = ("wav", "wav adpcm", "flac", "ogg of short pages", "mp3", "au", "aiff")
BY_FFMPEG: tuple[str, ...] = (
    "opus of short pages",
    "m4a",
    "aac adts",
    "wma",
    "wavpack",
    "flac in ogg",
    "mp3 vbr without a Xing header",
    "webm",
)
TABLES = ("csv", "tsv", "jsonl", "parquet")
_EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x01\0\0\0", b"\0\0\0\x01")


def generator(kind: str, index: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(kind.encode()), index])


def mutate(data: bytes, rng: np.random.Generator, others: Sequence[bytes], header: int = 100) -> bytes:
    """Bit flips, cuts, splices with another file, holes, repeats, and extreme numbers in the first ``header`` bytes."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 3))):
        at, end = sorted(rng.integers(0, len(found) + 1, 2).tolist())
        match rng.integers(0, 8):
            case 0 | 1:
                for place in rng.integers(0, max(1, len(found)), rng.integers(1, 20)).tolist():
                    found[place : place + 1] = bytes([found[place] ^ 1 << int(rng.integers(8))]) if found else b""
            case 2 | 3:
                place = int(rng.integers(0, min(header, max(1, len(found)))))
                number = _EXTREMES[rng.integers(len(_EXTREMES))][: rng.integers(1, 5)]
                found[place : place + len(number)] = number
            case 4:
                del found[at:]
            case 5:
                other = others[rng.integers(len(others))]
                found[at:] = other[int(rng.integers(0, len(other))) :]
            case 6:
                found[at:end] = bytes(end - at)
            case 7:
                found[at:at] = found[at:end]
    return bytes(found)


def _ogg_crc_table() -> list[int]:
    table = list(range(256))
    for i, value in enumerate(table):
        value <<= 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
        table[i] = value
    return table


_OGG_CRC = _ogg_crc_table()


def with_valid_pages(data: bytes) -> bytes:
    """An Ogg file with the checksum of every page made right: else a damaged page never gets to the decoder."""
    pages = data.split(b"OggS")
    for i, page in enumerate(pages[1:], 1):
        bare = bytearray(b"OggS" + page)
        bare[22:26] = bytes(4)
        crc = 0
        for byte in bare:
            crc = (crc << 8 & 0xFFFFFFFF) ^ _OGG_CRC[crc >> 24 ^ byte]
        bare[22:26] = crc.to_bytes(4, "little")
        pages[i] = bytes(bare[4:])
    return b"OggS".join(pages)


def check_song(data: bytes, name: str) -> bool:
    """Whether the song is kept. Fails where it is neither a sound clip nor refused by name."""
    try:
        clip = decode_pcm(data, name, limit_s=20.0)
    except DecodeError as error:
        refused = error
    else:
        assert (clip.key, clip.pcm_T.dtype, clip.pcm_T.ndim) == (name, np.int16, 1)
        assert 0 < clip.duration_s <= MAX_SONG_S
        return True
    assert str(refused) == f"{name}: {refused.reason}"
    assert refused.reason
    return False


def mutated_songs(kind: str, count: int, folder: Path, start: int = 0) -> list[tuple[str, bytes]]:
    sound = {name: encoded(name, SONG_S, folder).read_bytes() for name in (*IN_PROCESS, *BY_FFMPEG)}
    others = list(sound.values())
    songs = []
    for i in range(start, start + count):
        data = mutate(sound[kind], generator(kind, i), others)
        songs.append((f"{kind} {i}", with_valid_pages(data) if i % 2 and "pages" in kind else data))
    return songs


_CELLS: tuple[Any, ...] = (
    *("", " ", "|", "||", "rock|rock", '"', '""', 'a"b', "a,b", "a\tb", "a\nb", "a\r\nb", "\0", "\ufeff", "\u2028"),
    *("nan", "NaN", "inf", "-1", "1e999", "0x10", "1" * 5000, "../../etc/passwd", "/", "//", "s3://", "a://b"),
    *("x" * 100_000, "train", "tset", "🎵", "'; DROP TABLE", "{}", "[]", "null", "True", "ü" * 300),
    "|".join(map(str, range(300))),
)
_ODD: tuple[Any, ...] = (
    *(None, math.nan, math.inf, -1, 2.5, 10**400, True),
    *([], ["rock", None], [["a"]], {}, {"a": 1}, "\ud800"),
)
_HEADERS = (
    *("path", "labels", "artist", "split", "regress:energy"),
    *("regress:", "regress:rock", "", "\0", "path ", "Path"),
)


def _rows(rng: np.random.Generator, odd: bool) -> tuple[list[str], list[list[Any]]]:
    """A sound table of twelve songs, then some cells, headers and rows of it are made absurd."""
    header = ["path", "labels", "artist", "split", "regress:energy"]
    splits = ["train"] * 8 + ["val"] * 2 + ["test"] * 2 if rng.random() < 0.5 else [""] * 12
    rows: list[list[Any]] = [
        [f"{i}.mp3", ("rock", "jazz|live")[i % 2], f"artist {i}", splits[i], str(i / 12)] for i in range(12)
    ]
    cells = _CELLS + (_ODD if odd else ())
    for _ in range(rng.integers(0, 4)):
        row, column = int(rng.integers(len(rows))), int(rng.integers(len(header)))
        match rng.integers(0, 6):
            case 0 | 1 | 2:
                rows[row][column] = cells[rng.integers(len(cells))]
            case 3:
                header[column] = _HEADERS[rng.integers(len(_HEADERS))]
            case 4:
                rows[row] = list(rows[int(rng.integers(len(rows)))])
            case 5:
                other = int(rng.integers(len(header)))
                rows[row][column], rows[row][other] = rows[row][other], rows[row][column]
    return header, rows


def _as_bytes(kind: str, header: list[str], rows: list[list[Any]], rng: np.random.Generator) -> bytes:
    if kind == "jsonl":
        return "\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in rows).encode()
    if kind == "parquet":
        sink = BytesIO()
        columns = [_column([row[k] for row in rows]) for k in range(len(header))]
        options: dict[str, Any] = {"compression": ("none", "snappy", "zstd")[rng.integers(3)]}
        pq.write_table(pa.Table.from_arrays(columns, names=header), sink, **options)
        return sink.getvalue()
    delimiter = "," if kind == "csv" else "\t"
    lines = [delimiter.join(_quoted(cell, delimiter, rng) for cell in row) for row in (header, *rows)]
    encoding = ("utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16")[rng.integers(5)]
    return ("\n", "\r\n", "\r")[rng.integers(3)].join(lines).encode(encoding, errors="replace")


def _column(cells: list[Any]) -> pa.Array:
    try:
        return pa.array(cells)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return pa.array([str(cell).encode(errors="replace") for cell in cells])  # of mixed types: as bytes


def _quoted(cell: str, delimiter: str, rng: np.random.Generator) -> str:
    plain = not any(mark in cell for mark in (delimiter, '"', "\n", "\r"))
    return cell if plain or rng.random() < 0.3 else '"' + cell.replace('"', '""') + '"'


def mutated_table(kind: str, index: int) -> bytes:
    """Absurd cells in half of the tables, damaged bytes in the other half."""
    rng = generator(kind, index)
    header, rows = _rows(rng, odd=kind in ("jsonl", "parquet"))
    data = _as_bytes(kind, header, rows, rng)
    return data if index % 2 else mutate(data, rng, [data, b'"', b"\xff\xfe", b"\0"], header=len(data))


def check_table(path: Path, make: Callable[[], bytes]) -> bool:
    """Whether the table gives a plan. Fails for an error without the table's name, and for rows that get lost."""
    path.write_bytes(make())
    try:
        listing = list_corpus("table", str(path))
    except (ValueError, FileNotFoundError) as error:
        refused = error
    else:
        keys = [row.key for row in (*listing.songs, *listing.rejected)]
        assert len(set(keys)) == len(keys)
        assert all(row.reason.startswith("row ") and row.path for row in listing.rejected)
        return _check_plan(listing.songs, listing.vocabulary)
    assert type(refused) in (ValueError, FileNotFoundError), refused
    assert path.name in str(refused), refused
    return False


def _check_plan(songs: list[Song], vocabulary: Vocabulary) -> bool:
    try:
        plan = make_plan(songs, vocabulary, ShardSettings(songs_per_shard=3))
    except ValueError as error:  # songs that are listed twice, too few artists for three splits
        if type(error) is not ValueError:
            raise
        return False
    assert sorted(song.key for song in plan.songs) == sorted(song.key for song in songs)
    assert sum(rows.stop - rows.start for _, _, rows in plan.shards()) == len(songs)
    assert np.isfinite(plan.labels_NK).all()
    for _, _, rows in plan.shards():
        plan.digest(rows)
    return True
