"""Tables and Hugging Face folders in every format and place, and the options of a corpus."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.small_corpus import make_song

from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import CORPORA, list_songs
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.sharding.writer import decode_song

ROWS = [
    {"path": "1.mp3", "labels": ["rock", "live"], "artist": "A", "split": "train", "regress:energy": 0.5},
    {"path": "2.mp3", "labels": "rock|80", "artist": None, "split": "test", "regress:energy": 1, "title": 7},
]


def json_lines(rows: list[dict]) -> str:
    return "\n\n".join(map(json.dumps, rows)) + "\n"


def test_a_table_of_json_lines(tmp_path: Path):
    (tmp_path / "songs.jsonl").write_text(json_lines(ROWS))
    songs, vocabulary = list_songs("table", str(tmp_path / "songs.jsonl"))
    assert vocabulary.names == ["80", "live", "rock", "energy"]
    assert [(song.artist, song.split) for song in songs] == [("A", "train"), ("", "test")]
    assert songs[1].labels == {"rock": 1.0, "80": 1.0, "energy": 1.0}


def test_a_table_is_the_same_in_every_format(tmp_path: Path):
    rows = [{"path": "a b.mp3", "labels": "rock|live", "artist": "Ä"}, {"path": "2.mp3", "labels": "", "artist": ""}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "songs.parquet")
    (tmp_path / "songs.jsonl").write_text(json_lines(rows))
    for suffix, mark in (("csv", ","), ("tsv", "\t")):
        lines = [mark.join(rows[0]), *(mark.join(row.values()) for row in rows)]
        (tmp_path / f"songs.{suffix}").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    found = [list_songs("table", f"{tmp_path}/songs.{suffix}") for suffix in ("csv", "tsv", "jsonl", "parquet")]
    assert all(songs == found[0] for songs in found)
    assert found[0][0][0].path == f"{tmp_path}/a b.mp3"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("songs.jsonl", b'{"path": "1.mp3"}\n\n{"path"\n', "songs.jsonl, row 2 is not JSON"),
        ("songs.jsonl", b'["1.mp3"]\n', "songs.jsonl, row 1: expected an object"),
        ("songs.jsonl", b'{"path": "1.mp3", "labels": {"rock": 1}}\n', "row 1: .* is neither a name nor a list"),
        ("songs.csv", b"path,labels\n1.mp3,rock\n2.mp3,rock,live\n", "songs.csv, row 2: 3 cells, but the header has 2"),
        ("songs.csv", b"path,labels\n1.mp3\n", "songs.csv, row 1: 1 cells, but the header has 2"),
        ("songs.csv", b'path,labels\n1.mp3,"rock\n2.mp3,live\n', "songs.csv, row 1: unexpected end of data"),
        ("songs.csv", b"path,labels\n1.mp3,caf\xe9\n", "songs.csv, line .*save it as UTF-8"),
        ("songs.csv", b"path,labels,path\n1,2,3\n", "more than one column 'path'"),
        ("songs.csv", b"", "songs.csv has no rows"),
        ("songs.parquet", b"PAR1 no", "songs.parquet cannot be read as Parquet"),
        ("songs.xlsx", b"", r"songs.xlsx is not a table in a supported format: .csv, .tsv, .jsonl, .parquet"),
    ],
)
def test_a_malformed_table_names_its_row(tmp_path: Path, name: str, data: bytes, words: str):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=words):
        list_songs("table", str(tmp_path / name))


def test_a_missing_table(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"none.csv does not exist"):
        list_songs("table", str(tmp_path / "none.csv"))


def test_an_audiofolder_with_tables(tmp_path: Path):
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "test").mkdir()
    (tmp_path / "data" / "train" / "metadata.csv").write_text("file_name,genre,artist\na/1.mp3,rock|live,A\n")
    (tmp_path / "data" / "test" / "metadata.jsonl").write_text(json_lines([{"file_name": "2.mp3", "genre": ["jazz"]}]))
    songs, vocabulary = list_songs("audiofolder", str(tmp_path), label="genre")
    assert (vocabulary.names, vocabulary.exclusive) == (["jazz", "live", "rock"], False)
    assert [(song.path.removeprefix(f"{tmp_path}/data/"), song.artist, song.split) for song in songs] == [
        ("test/2.mp3", "", "test"),
        ("train/a/1.mp3", "A", "train"),
    ]
    with pytest.raises(ValueError, match=r"test/metadata.jsonl has no column 'tags'; it has \['file_name', 'genre'\]"):
        list_songs("audiofolder", str(tmp_path), label="tags")


def test_an_audiofolder_with_named_classes(tmp_path: Path):
    feature = {"feature": {"names": ["jazz", "rock"], "_type": "ClassLabel"}, "_type": "Sequence"}
    table = pa.table({"file_name": ["1.mp3", "2.mp3"], "labels": [[1, 0], [1]], "split": ["train", "test"]})
    metadata = {"huggingface": json.dumps({"info": {"features": {"labels": feature}}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "metadata.parquet")
    songs, _ = list_songs("audiofolder", str(tmp_path))
    assert [(set(song.labels), song.split) for song in songs] == [({"jazz", "rock"}, "train"), ({"rock"}, "test")]


def test_an_audiofolder_of_label_folders(tmp_path: Path):
    for path in ("train/rock/1.mp3", "train/jazz/1.mp3", "validation/rock/1.flac", "validation/rock/cover.jpg"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    songs, vocabulary = list_songs("audiofolder", str(tmp_path))
    assert (vocabulary.names, vocabulary.exclusive) == (["jazz", "rock"], True)
    assert [song.split for song in songs] == ["train", "train", "validation"]
    (tmp_path / "train" / "loose.mp3").write_bytes(b"")
    with pytest.raises(ValueError, match=r"train/loose.mp3 has no label: neither a column .* nor a label folder"):
        list_songs("audiofolder", str(tmp_path))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_tables_over_http(tmp_path: Path, web: str):
    (tmp_path / "songs.csv").write_text("path,labels\nx/1.mp3,rock\n")
    (tmp_path / "metadata.csv").write_text("file_name,label\nx/1.mp3,rock\n")
    for songs, _ in (
        list_songs("table", f"{web}/songs.csv"),
        list_songs("audiofolder", web, metadata=["metadata.csv"]),
    ):
        assert [song.path for song in songs] == [f"{web}/x/1.mp3"]
    with pytest.raises(FileNotFoundError, match=r"http://.*/none.csv does not exist"):
        list_songs("table", f"{web}/none.csv")
    for corpus in ("folder", "gtzan", "audiofolder"):
        with pytest.raises(ValueError, match="cannot be listed over HTTP; name its tables, or its songs in one"):
            list_songs(corpus, web)


def test_songs_over_http_are_those_of_the_disk(tmp_path: Path, web: str):
    song = make_song(tmp_path, 3)
    there, settings = replace(song, path=f"{web}/3.wav"), ShardSettings(allow_internal_urls=True)
    assert np.array_equal(decode_song(there, settings).pcm_T, decode_song(song, settings).pcm_T)
    with pytest.raises(DecodeError, match=r"http://.*/4.wav: the file does not exist"):
        decode_song(replace(song, path=f"{web}/4.wav"), settings)


def test_a_corpus_in_object_storage():
    files = fsspec.filesystem("memory")
    for path in ("gtzan/rock/rock.00000.wav", "hub/train/rock/1.mp3", "hub/test/rock/2.mp3"):
        files.pipe_file(f"/corpora_test/{path}", b"")
    try:
        assert list_songs("gtzan", "memory://corpora_test/gtzan")[0][0].path.endswith("gtzan/rock/rock.00000.wav")
        songs, _ = list_songs("audiofolder", "memory://corpora_test/hub")
        assert [song.path for song in songs] == [
            "memory://corpora_test/hub/test/rock/2.mp3",
            "memory://corpora_test/hub/train/rock/1.mp3",
        ]
    finally:
        files.rm("/corpora_test", recursive=True)


@pytest.mark.parametrize(
    ("corpus", "options", "words"),
    [
        ("fma", {"subet": "small"}, "corpus=fma takes no option 'subet'; it takes subset, tables"),
        ("fma", {"subset": "tiny"}, r"option subset='tiny' is none of \['small', 'medium', 'large', 'full'\]"),
        ("fma", {"subset": 3}, "option subset=3 of corpus=fma must be text"),
        ("jamendo", {"low": "yes"}, "option low='yes' of corpus=jamendo must be true or false"),
        ("music4all", {"top": True}, "option top=True of corpus=music4all must be a whole number"),
        ("mtat", {"splits": "test"}, "must be a list of names like"),
        ("mtat", {"splits": ["dev"]}, "option splits='dev' is none of"),
        ("music4all_jamendo", {}, r"needs the option music4all_audio: \+options.music4all_audio=\.\.\."),
        ("gtzan", {"columns": {}}, "corpus=gtzan takes no option 'columns'"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(corpus: str, options: dict, words: str):
    with pytest.raises(ValueError, match=words):
        list_songs(corpus, "/nowhere", **options)


@pytest.mark.parametrize("corpus", sorted(set(CORPORA) - {"msd", "music4all_jamendo"}))
def test_an_absent_corpus_is_not_found(corpus: str, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="absent"):
        list_songs(corpus, str(tmp_path / "absent.csv"))
