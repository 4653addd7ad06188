"""Real split and label files give exactly the published counts."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from genrescale.audio import Song
from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import list_songs
from genrescale.data.sharding.plan import make_plan
from genrescale.data.sharding.splits import artist_overlap


def sizes(songs: list[Song]) -> tuple[int, ...]:
    count = Counter(song.split for song in songs)
    assert set(count) <= {"train", "validation", "test"}
    return count["train"], count["validation"], count["test"]


@pytest.mark.parametrize(
    ("subset", "songs_of", "labels_of", "num_tags"),
    [
        ("moodtheme", (9949, 3802, 4231), (17885, 6306, 7564), 56),
        ("top50tags", (32136, 10888, 11356), (94953, 37140, 34878), 50),
    ],
)
def test_jamendo(shared_data: Path, subset: str, songs_of: tuple, labels_of: tuple, num_tags: int):
    songs, vocabulary = list_songs("jamendo", "/music", subset=subset, tables=str(shared_data / "jamendo"))
    assert sizes(songs) == songs_of
    assert (len(vocabulary), vocabulary.exclusive) == (num_tags, False)
    labels = Counter({"train": 0})
    for song in songs:
        labels[str(song.split)] += len(song.labels)
    assert (labels["train"], labels["validation"], labels["test"]) == labels_of
    overlap = artist_overlap(songs, [str(song.split) for song in songs])
    assert (overlap.artists, overlap.unknown_songs) == (0, 0)
    assert len({song.key for song in songs}) == len(songs)


def test_a_jamendo_row_is_a_song(shared_data: Path):
    song = list_songs("jamendo", "/music", tables=str(shared_data / "jamendo"), low=True)[0][0]
    assert song.key.startswith("track_0000948-")
    assert (song.path, song.artist, song.split) == ("/music/48/948.low.mp3", "artist_000087", "train")
    assert song.labels == {"mood/theme---background": 1.0}
    assert song.expected_s == 212.7


def test_the_fault_filtered_gtzan(shared_data: Path):
    songs, vocabulary = list_songs("gtzan", "/gtzan", split="filtered", lists=str(shared_data / "gtzan"), suffix=".au")
    assert sizes(songs) == (443, 197, 290)
    assert vocabulary.exclusive
    assert (len(vocabulary), vocabulary.names[0], vocabulary.names[-1]) == (10, "blues", "rock")
    assert songs[0].path == "/gtzan/blues/blues.00029.au"
    assert Counter(next(iter(song.labels)) for song in songs)["pop"] == 84
    assert sizes(make_plan(songs, vocabulary, ShardSettings()).songs) == (443, 197, 290)


def test_the_index_of_magnatagatune(shared_data: Path):
    songs, vocabulary = list_songs("mtat", str(shared_data / "mtt"), splits=["validation", "test"])
    assert sizes(songs) == (0, 1825, 5329)
    assert vocabulary.names[:3] == ["guitar", "classical", "slow"]
    assert (len(vocabulary), vocabulary.names[-1]) == (50, "choral")
    assert sum(len(song.labels) for song in songs) == 19207
    assert Counter(tag for song in songs for tag in song.labels)["guitar"] == 1382
    assert sum(not song.labels for song in songs) == 1293
    clean, _ = list_songs("mtat", str(shared_data / "mtt"), splits=["validation", "test"], split="clean")
    assert sizes(clean) == (0, 1529, 4332)
    assert sum(len(song.labels) for song in clean) == 19207  # no label is lost
    assert {song.key for song in clean} == {song.key for song in songs if song.labels}
    with pytest.raises(FileNotFoundError, match=r"train_gt_mtt.tsv does not exist.*options.splits=\[validation,test\]"):
        list_songs("mtat", str(shared_data / "mtt"))


def test_magnatagatunes_folders_are_its_splits(shared_data: Path, tmp_path: Path):
    """The labels of the train split are not at hand: with none in their place, the whole index is read."""
    tables = Path(shutil.copytree(shared_data / "mtt", tmp_path / "mtt"))
    tables.chmod(0o755)
    rows = [line.split("\t") for line in (tables / "index_mtt.tsv").read_text().splitlines()]
    nothing = [0] * 50
    (tables / "train_gt_mtt.tsv").write_text(
        "".join(f"{clip}\t{nothing}\n" for clip, path in rows if path[0] in "0123456789ab")
    )
    songs, _ = list_songs("mtat", str(tables))
    assert sizes(songs) == (18709, 1825, 5329)
    assert len({song.artist for song in songs}) == 230
    assert artist_overlap(songs, [str(song.split) for song in songs]).artists == 56


def test_music4all_joins_jamendos_train_split(shared_data: Path, tmp_path: Path):
    (tmp_path / "id_tags.csv").write_text("id\ttags\na\thappy,rock\nb\tHappy\nc\tdark,deep\n")
    (tmp_path / "id_information.csv").write_text("id\tartist\tsong\na\tX\t1\nb\tY\t2\nc\tZ\t3\n")
    songs, vocabulary = list_songs("music4all_jamendo", str(shared_data / "jamendo"), music4all_audio=str(tmp_path))
    assert sizes(songs) == (9951, 3802, 4231)
    assert len(vocabulary) == 56
    assert [(song.path, set(song.labels)) for song in songs[-2:]] == [
        (f"{tmp_path}/audios/a.mp3", {"mood/theme---happy"}),
        (f"{tmp_path}/audios/c.mp3", {"mood/theme---dark", "mood/theme---deep"}),
    ]


def test_the_game_music_table(shared_data: Path):
    columns = {"labels": "game"}
    songs, vocabulary = list_songs("table", str(shared_data / "gamemusic" / "labels.csv"), columns=columns)
    assert (len(songs), len(vocabulary), vocabulary.exclusive) == (216, 12, True)
    assert sum(not song.artist for song in songs) == 88
    assert all(Path(song.path).is_file() for song in songs)
