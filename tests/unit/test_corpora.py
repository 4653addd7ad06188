"""Corpora list songs and tags, and say which column, row or folder is wrong."""

from pathlib import Path

import pytest

from genrescale.data.corpora import CORPORA, list_songs


def test_folder_corpus(tmp_path: Path):
    for path in (
        "rock/a/1.mp3",
        "rock/2.FLAC",
        "jazz/1.ogg",
        "jazz/cover.jpg",
        ".git/x.mp3",
        "loose.mp3",
        "pop/.x.mp3",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    songs, vocabulary = list_songs("folder", str(tmp_path))
    assert (vocabulary.names, vocabulary.exclusive) == (["jazz", "rock"], True)
    assert [(song.path, song.labels) for song in songs] == [
        (str(tmp_path / "jazz/1.ogg"), {"jazz": 1.0}),
        (str(tmp_path / "rock/2.FLAC"), {"rock": 1.0}),
        (str(tmp_path / "rock/a/1.mp3"), {"rock": 1.0}),
    ]
    with pytest.raises(ValueError, match=r"has no song at LABEL/SONG.EXT"):
        list_songs("folder", str(tmp_path / "jazz"))
    with pytest.raises(FileNotFoundError, match="none"):
        list_songs("folder", str(tmp_path / "none"))


def test_table_corpus(tmp_path: Path):
    table = tmp_path / "songs.csv"
    table.write_text(
        "file,genre,split,regress:energy\nx/1.mp3,rock|80,valid,0.5\n/abs/2.mp3,None,test,1\ns3://b/3.mp3,,train,0\n"
    )
    songs, vocabulary = list_songs("table", str(table), columns={"path": "file", "labels": "genre"})
    assert [(tag.name, tag.kind) for tag in vocabulary.tags] == [
        ("80", "classify"), ("None", "classify"), ("rock", "classify"), ("energy", "regress")
    ]  # fmt: skip
    assert not vocabulary.exclusive
    assert [song.path for song in songs] == [str(tmp_path / "x/1.mp3"), "/abs/2.mp3", "s3://b/3.mp3"]
    assert [song.split for song in songs] == ["validation", "test", "train"]
    assert songs[0].labels == {"rock": 1.0, "80": 1.0, "energy": 0.5}
    assert {song.artist for song in songs} == {""}
    table.write_text("path,labels\n1.mp3,rock\n2.mp3,jazz\n")
    assert list_songs("table", str(table))[1].exclusive


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,tags\n1.mp3,rock\n", r"no column 'labels' for labels; it has \['path', 'tags'\]"),
        ("path,labels,split\n1.mp3,rock,dev\n", "row 1: split 'dev'"),
        ("path,labels,regress:e\n1.mp3,rock,2\n", "row 1, column regress:e: 2.0 is not in"),
        ("path,labels,regress:e\n1.mp3,rock,\n", "row 1, column regress:e: '' is not a number"),
        ("path,labels\n,rock\n", "row 1: the path is empty"),
        ("path,labels\n1.mp3,\n", "no label in any row"),
        ("path,labels\n", "no rows"),
    ],
)
def test_a_wrong_table_says_where(tmp_path: Path, text: str, words: str):
    (tmp_path / "songs.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        list_songs("table", str(tmp_path / "songs.csv"))


def test_an_unknown_corpus_is_named():
    assert set(CORPORA) >= {"synthetic", "folder", "table"}
    with pytest.raises(ValueError, match="corpus='fmaa' is none of"):
        list_songs("fmaa", "x")
    with pytest.raises(ValueError, match="corpus=folder takes no"):
        list_songs("folder", "x", columns={})
