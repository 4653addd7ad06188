"""Whatever a file or a table holds: a clip or a plan, or one error that names it. Nothing else, and no hang.

``tests/soak/test_fuzz.py`` does the same with other seeds, and for longer.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.mutations import BY_FFMPEG, IN_PROCESS, TABLES, check_song, check_table, mutated_songs, mutated_table
from helpers.small_corpus import rock_task

from genrescale.audio import Song
from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import list_songs
from genrescale.data.index import index_from_bytes, index_path
from genrescale.data.sharding.writer import write_shard
from genrescale.storage.store import Store

NUM_SONGS = {**dict.fromkeys(IN_PROCESS, 30), **dict.fromkeys(BY_FFMPEG, 10)}
NUM_TABLES = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", NUM_SONGS)
def test_a_damaged_song_is_a_clip_or_refused_by_name(folder: Path, kind: str):
    kept = sum([check_song(data, name) for name, data in mutated_songs(kind, NUM_SONGS[kind], folder)])
    assert kept < NUM_SONGS[kind]


@pytest.mark.parametrize("kind", TABLES)
def test_a_damaged_table_gives_a_plan_or_an_error_that_names_it(tmp_path: Path, kind: str):
    path = tmp_path / f"songs.{kind}"
    kept = sum([check_table(path, lambda i=i: mutated_table(kind, i)) for i in range(NUM_TABLES)])
    assert 0 < kept < NUM_TABLES


def test_of_a_folder_of_damaged_songs_each_is_in_the_shard_or_in_quarantine(folder: Path, tmp_path: Path):
    songs = []
    for kind in NUM_SONGS:
        for name, data in mutated_songs(kind, 2, folder, start=10_000):
            path = tmp_path / f"{name}.mp3"
            path.write_bytes(data)
            songs.append(Song(name.replace(" ", "_"), str(path), "", {"rock": 1.0}))
    task = rock_task(Store(str(tmp_path / "out")), songs, ShardSettings(min_s=0))
    report = write_shard(task)
    index = index_from_bytes(task.store.read_bytes(index_path(task.name)))
    assert sorted([*index.keys, *report.quarantined]) == sorted(song.key for song in songs)
    assert report.num_songs == len(index.keys) > 0
    assert index.quarantined == report.quarantined
    assert all(report.quarantined.values())
    # reasons hold nothing that differs between two runs, such as where in memory ffmpeg's decoder lies
    assert write_shard(task) == report


# Tables that once gave an error of another kind, or none.


def error_of(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=path.name) as caught:
        list_songs("table", str(path))
    assert type(caught.value) is ValueError
    return str(caught.value)


def line(**cells: object) -> bytes:
    return json.dumps({"path": "a.mp3", "labels": "rock"} | cells).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 100_000, "row 1 is not JSON"),
        (b'{"path": ' + b"1" * 5000 + b"}", "row 1 is not JSON"),
        (line(path="\ud800.mp3"), "row 1 holds half of a surrogate pair"),
        (line(labels=["\udcff"]), "row 1 holds half of a surrogate pair"),
        (line(path=["a.mp3"]), r"row 1: the path ['a.mp3'] is not text"),
        (line(path=7), "row 1: the path 7 is not text"),
        (line() + b"\n" + line(labels=float("nan")), "row 2: nan is neither a name nor a list of names"),
        (line(labels=["rock", None]), "row 1: ['rock', None] is neither"),
        (line(**{"regress:energy": 10**400}), "row 1, column regress:energy: 1000"),
        (line(**{"regress:rock": 0.5}), "names these tags more than once: ['rock']"),
        (line(**{"regress:": 0.5}), "a tag needs a name"),
    ],
)
def test_absurd_json(tmp_path: Path, content: bytes, reason: str):
    assert reason in error_of(tmp_path / "songs.jsonl", content)


def parquet(folder: Path, table: pa.Table) -> bytes:
    pq.write_table(table, folder / "sound.parquet")
    return (folder / "sound.parquet").read_bytes()


def test_damaged_parquet(tmp_path: Path):
    path, names = tmp_path / "songs.parquet", ["path", "labels"]
    sound = pa.table({"path": ["a.mp3", "b.mp3"], "labels": ["rock", "jazz"]})
    data = parquet(tmp_path, sound)
    assert "cannot be read as Parquet" in error_of(path, data[:-9] + b"\xff" + data[-8:])
    assert "cannot be read as Parquet" in error_of(path, data.replace(b"path", b"pa\xff\xff"))
    assert "cannot be read as Parquet" in error_of(path, data.replace(b"a.mp3", b"\xff.mp3"))
    missing = pa.table({"path": ["a.mp3", "b.mp3"], "labels": [1.0, np.nan]})
    assert "row 2: nan is neither" in error_of(path, parquet(tmp_path, missing))
    twice = pa.Table.from_arrays([sound["path"], sound["labels"], sound["labels"]], names=[*names, "labels"])
    assert "more than one column 'labels'" in error_of(path, parquet(tmp_path, twice))
