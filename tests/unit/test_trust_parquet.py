"""A Parquet file from a stranger runs no code and fills no memory, whichever reader meets it."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectArray

from genrescale.data.checksums import song_checksums
from genrescale.data.corpora import list_songs
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.decoding.in_parquet import read_song
from genrescale.data.index import index_from_bytes
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.quarantine import read_quarantine
from genrescale.data.sharding.lengths import read_odd_lengths
from genrescale.data.sharding.plan_file import read_plan
from genrescale.data.takedowns import read_takedowns
from genrescale.results import read_curve, read_scores
from genrescale.results.embeddings import read_embeddings
from genrescale.storage.parquet import ParquetTable, table_of
from genrescale.storage.store import Store

RUN = "a" * 12
REFUSED = "extension type, which can run code"


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.command = f"touch {folder}/owned"

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


def parquet(table: pa.Table, **options: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)  # type: ignore[arg-type]
    return file.getvalue()


def evil(folder: Path, num_rows: int = 2) -> pa.Array:
    return ArrowPythonObjectArray.from_objects([Payload(folder)] * num_rows)


def names_another(manifest: Manifest, kind: str, data: bytes) -> None:
    """Put other bytes into a table of the manifest, and their SHA-256 into manifest.json."""
    path = Path(manifest.uri, "manifest.json")
    summary = json.loads(path.read_text())
    table = next(name for name in summary["tables"] if kind in name)
    Path(manifest.uri, table).write_bytes(data)
    summary["tables"][table] = hashlib.sha256(data).hexdigest()
    path.write_text(json.dumps(summary))


def test_the_attack_works_on_pyarrows_own_reader(tmp_path: Path):
    data = parquet(pa.table({"key": evil(tmp_path)}))
    pq.read_table(io.BytesIO(data)).to_pylist()
    assert (tmp_path / "owned").exists()


def nested(folder: Path) -> dict[str, pa.Array]:
    inner = evil(folder)
    offsets = pa.array([0, 1, 2], pa.int32())
    return {
        "plain": inner,
        "list": pa.ListArray.from_arrays(offsets, inner),
        "struct": pa.StructArray.from_arrays([inner], ["x"]),
        "map": pa.MapArray.from_arrays(offsets, pa.array(["a", "b"]), inner),
        "list of structs": pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays([inner], ["x"])),
    }


@pytest.mark.parametrize("kind", ["plain", "list", "struct", "map", "list of structs"])
def test_extension_types_are_refused_before_pyarrow_opens_the_file(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
):
    data = parquet(pa.table({"key": ["a", "b"], "x": nested(tmp_path)[kind]}))
    monkeypatch.setattr(pq, "ParquetFile", lambda *_, **__: pytest.fail("pyarrow makes the types"))
    with pytest.raises(ValueError, match=f"^the table cannot be read as Parquet: it has a column with an {REFUSED}"):
        table_of(data, "the table")
    assert not (tmp_path / "owned").exists()


def test_one_that_nobody_registered_is_refused_too():
    field = pa.field("key", pa.string(), metadata={"ARROW:extension:name": "somebody.elses"})
    with pytest.raises(ValueError, match=REFUSED):
        table_of(parquet(pa.table([["a"]], schema=pa.schema([field]))), "the table")


@pytest.mark.parametrize("path", ["plan.parquet", "quarantine.parquet", "takedowns.parquet", "odd_lengths.parquet"])
def test_no_table_beside_the_shards_runs_code(copy: Manifest, tmp_path: Path, path: str):
    Path(copy.uri, path).write_bytes(parquet(pa.table({"key": evil(tmp_path)})))
    store = Store(copy.uri)
    readers = {
        "plan.parquet": lambda: read_plan(store),
        "quarantine.parquet": lambda: read_quarantine(store),
        "takedowns.parquet": lambda: read_takedowns(store),
        "odd_lengths.parquet": lambda: read_odd_lengths(copy),
    }
    with pytest.raises(ValueError, match=f"{path} cannot be read as Parquet: .*{REFUSED}"):
        readers[path]()
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("kind", ["songs", "shards"])
def test_no_table_of_the_manifest_runs_code(copy: Manifest, tmp_path: Path, kind: str):
    names_another(copy, kind, parquet(pa.table({"key": evil(tmp_path)})))
    with pytest.raises(ValueError, match=f"{kind}.parquet cannot be read as Parquet: .*{REFUSED}"):
        read_manifest(copy.uri)
    assert not (tmp_path / "owned").exists()


def test_no_index_score_table_curve_or_embedding_runs_code(tmp_path: Path):
    data, files = parquet(pa.table({"key": evil(tmp_path)})), Store(str(tmp_path))
    for name in ("scores", "curve"):
        files.write_bytes(f"runs/{RUN}/{name}.parquet", data)
    for read in (
        lambda: index_from_bytes(data),
        lambda: read_embeddings(data),
        lambda: read_scores(files, f"runs/{RUN}/scores.parquet"),
        lambda: read_curve(files, RUN),
    ):
        with pytest.raises(ValueError, match=REFUSED):
            read()
    assert not (tmp_path / "owned").exists()


def test_no_table_of_songs_and_no_audio_inside_of_one_runs_code(tmp_path: Path):
    path = tmp_path / "metadata.parquet"
    path.write_bytes(parquet(pa.table({"file_name": evil(tmp_path), "path": evil(tmp_path), "label": ["a", "b"]})))
    for corpus, audio in (("table", str(path)), ("audiofolder", str(tmp_path)), ("fma_hf", str(tmp_path))):
        with pytest.raises(ValueError, match=f"metadata.parquet cannot be read as Parquet: .*{REFUSED}"):
            list_songs(corpus, audio)
    with pytest.raises(DecodeError, match=REFUSED):
        read_song(f"{path}#path/0")
    assert not (tmp_path / "owned").exists()


def repeated(text: str, count: int) -> pa.Table:
    """A column that holds one text many times; its file holds the text once."""
    return pa.table({"key": pa.array([text]).take(pa.array(np.zeros(count, np.int64)))})


BOMBS: dict[str, Callable[[], bytes]] = {
    "a text stored once and repeated": lambda: parquet(repeated("x" * 1_000_000, 300)),
    "the same in a list": lambda: parquet(
        pa.table({"key": pa.ListArray.from_arrays([0, 300], repeated("x" * 1_000_000, 300)["key"].combine_chunks())})
    ),
    "zeros that are packed": lambda: parquet(repeated("\0" * 1_000_000, 300), use_dictionary=False, compression="zstd"),
    "a text that only says that it is the one before it": lambda: parquet(
        repeated("x" * 1_000_000, 300), use_dictionary=False, column_encoding={"key": "DELTA_BYTE_ARRAY"}
    ),
    "a list of a hundred million zeros": lambda: parquet(
        pa.table({"key": pa.ListArray.from_arrays([0, 100_000_000], np.zeros(100_000_000, np.int32))})
    ),
    "a hundred million rows": lambda: parquet(pa.table({"key": np.zeros(100_000_000, np.int8)})),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_small_file_that_becomes_a_large_table_is_refused_before_it_is_decoded(
    kind: str, monkeypatch: pytest.MonkeyPatch
):
    data = BOMBS[kind]()
    assert len(data) < 1_300_000
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match=r"the table cannot be read as Parquet: it (would take|states) "):
        table_of(data, "the table")


def varint(number: int, width: int = 0) -> bytes:
    """A number as Thrift writes it, with as many bytes as another one."""
    number, found = number << 1, bytearray()  # zigzag
    while number >= 0x80 or len(found) < width - 1:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def test_a_footer_that_lies_about_its_sizes_changes_nothing():
    data = parquet(repeated("\0" * 1_000_000, 300), use_dictionary=False, compression="zstd")
    footer = int.from_bytes(data[-8:-4], "little") + 8
    for size in {(group := pq.read_metadata(io.BytesIO(data)).row_group(0)).total_byte_size,
                 group.column(0).total_uncompressed_size}:  # fmt: skip
        true = varint(size)
        assert true in data[-footer:]
        data = data[:-footer] + data[-footer:].replace(true, varint(1000, len(true)))
    assert pq.read_metadata(io.BytesIO(data)).row_group(0).total_byte_size == 1000
    with pytest.raises(ValueError, match=r"it would take 300,\d{3},\d{3} bytes in memory"):
        table_of(data, "the table")


def test_audio_inside_of_a_table_is_measured_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    songs = pa.array([b"\0" * 3_000_000, b"OggS"], pa.binary())
    table = pa.table({"audio": pa.StructArray.from_arrays([songs], ["bytes"])})
    pq.write_table(table, path := tmp_path / "a.parquet", compression="zstd", use_dictionary=False, data_page_size=1)
    monkeypatch.setattr("genrescale.storage.parquet.MAX_CELL", 1_000_000)
    with pytest.raises(DecodeError, match=r"a page of 'audio.bytes' takes 3,\d{3},\d{3} bytes, more than 1,000,000"):
        read_song(f"{path}#audio/0")
    monkeypatch.setattr("genrescale.storage.parquet.MAX_CELL", 4_000_000)
    assert read_song(f"{path}#audio/1") == b"OggS"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.drop_columns(["shard"]), "was written by an earlier version"),
        (lambda t: t.set_column(0, "key", pa.array(range(len(t)))), "column 'key' holds int64, not string"),
        (lambda t: t.set_column(0, "key", pa.nulls(len(t), pa.string())), "column 'key' has 19 null values"),
        (lambda t: t.set_column(t.column_names.index("shard"), "shard", pa.array([99] * len(t), pa.int32())), "shard"),
        (lambda t: t.set_column(t.column_names.index("offset"), "offset", pa.array([-1] * len(t))), "song's offset"),
        (lambda t: t.set_column(t.column_names.index("num_samples"), "num_samples", pa.array([1 << 40] * len(t))),
         "song's num_samples"),
        (lambda t: t.set_column(t.column_names.index("num_samples"), "num_samples", pa.array([1 << 24] * len(t))),
         "a song's end"),
        (lambda t: t.set_column(0, "key", pa.array(["../../x"] * len(t))), "a song's key"),
        (lambda t: t.slice(1), "names 19 songs, its table has 18"),
    ],
)  # fmt: skip
def test_a_table_of_songs_that_says_what_cannot_be_is_refused(
    copy: Manifest, change: Callable[[pa.Table], pa.Table], words: str
):
    summary = json.loads(Path(copy.uri, "manifest.json").read_text())
    songs = pq.read_table(Path(copy.uri, next(name for name in summary["tables"] if "songs" in name)))
    names_another(copy, "songs", parquet(change(songs)))
    with pytest.raises(ValueError, match=words):
        read_manifest(copy.uri)


def test_checksums_whose_header_promises_more_than_there_is_are_refused(copy: Manifest):
    path = Path(copy.uri, "manifest.json")
    summary = json.loads(path.read_text())
    name = next(iter(summary["checksums"]))
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<u4", "fortran_order": False, "shape": (1 << 40,)})
    objects = io.BytesIO()
    np.save(objects, np.array([{}], object), allow_pickle=True)
    for data in (file.getvalue() + bytes(8), objects.getvalue()):
        Path(copy.uri, name).write_bytes(data)
        summary["checksums"] = {name: hashlib.sha256(data).hexdigest()}
        path.write_text(json.dumps(summary))
        with pytest.raises(ValueError, match=f"{name} holds no checksums: an array"):
            song_checksums(read_manifest(copy.uri), np.arange(2))


def test_honest_tables_are_read_as_pyarrow_reads_them():
    table = pa.table(
        {
            "list": pa.array([["x", "y"], ["x"], None, []]),
            "struct": pa.array([{"bytes": b"q", "path": "p"}] * 4),
            "text": ["u", "v", None, "w"],
            "map": pa.array([[("k", "v")], [("k", "w")], None, []], pa.map_(pa.string(), pa.string())),
            "number": pa.array([1, 2, 3, None]),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8, dtype=np.float32)), 2),
            "fixed": pa.array([b"ab"] * 4, pa.binary(2)),
            "time": pa.array([1, 2, 3, 4], pa.timestamp("ns")),
        }
    )
    for options in (
        *({"compression": name} for name in ("none", "snappy", "gzip", "brotli", "zstd", "lz4")),
        *({"data_page_version": "2.0"}, {"use_dictionary": False}, {"row_group_size": 1}, {"data_page_size": 1}),
        *({"write_page_checksum": True, "write_page_index": True}, {"store_schema": False}),
    ):
        data = parquet(table, **options)
        assert table_of(data, "it").equals(pq.read_table(io.BytesIO(data)))
        file = ParquetTable(io.BytesIO(data), "it")
        assert [file.cell("struct.bytes", row) for row in range(4)] == [b"q"] * 4
        assert file.holds("text") == [True, True, False, True]


def refusal(data: bytes) -> str:
    """What is said of a table; that nothing is, where it is read."""
    try:
        table_of(data, "the table").to_pylist()
    except ValueError as error:
        return str(error)
    return "nothing"


def test_damage_anywhere_is_a_sentence():
    data = parquet(pa.table({"key": ["a", "b", "a"], "list": [["x"], [], ["y"]]}))
    rng = np.random.default_rng(0)
    for _ in range(400):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            damaged[place] ^= 1 << rng.integers(8)
        assert refusal(bytes(damaged)).startswith(("the table ", "nothing"))
    for end in range(len(data)):
        with pytest.raises(ValueError, match="the table cannot be read as Parquet"):
            table_of(data[:end], "the table")
