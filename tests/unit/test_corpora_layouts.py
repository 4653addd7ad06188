"""Tiny trees laid out as each published corpus is, and what is said about one that is not."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genrescale.data.corpora import list_songs


def write(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return str(folder)


MTAT = {
    "annotations_final.csv": '"clip_id"\t"no voice"\t"rock"\t"mp3_path"\n"2"\t"0"\t"1"\t"f/x-1.mp3"\n'
    '"6"\t"1"\t"1"\t"c/y-1.mp3"\n"9"\t"0"\t"0"\t"0/z-1.mp3"\n',
    "clip_info_final.csv": 'clip_id\ttitle\tartist\n2\t"Weird" one\tX\n6\tt\tY\n9\tt\tZ\n',
}


def test_magnatagatune(tmp_path: Path):
    songs, vocabulary = list_songs("mtat", write(tmp_path, MTAT))
    assert vocabulary.names == ["rock", "no voice"]
    assert [(song.path.removeprefix(f"{tmp_path}/"), song.artist, song.split, set(song.labels)) for song in songs] == [
        ("f/x-1.mp3", "X", "test", {"rock"}),
        ("c/y-1.mp3", "Y", "validation", {"rock", "no voice"}),
        ("0/z-1.mp3", "Z", "train", set()),
    ]
    songs, _ = list_songs("mtat", str(tmp_path), split="clean")
    assert [song.split for song in songs] == ["test", "validation"]  # z-1 has no tag
    with pytest.raises(ValueError, match=r"option split='dev' is none of \['original', 'clean'\]"):
        list_songs("mtat", str(tmp_path), split="dev")
    clean = write(tmp_path, {"clean.tsv": "0\tf/x-1.mp3\ttrain\nc/y-1.mp3\ttest\n"}) + "/clean.tsv"
    songs, _ = list_songs("mtat", str(tmp_path), clean=clean)
    assert [song.split for song in songs] == ["train", "test"]


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("annotations_final.csv", "clip_id\trock\tmp3_path\n2\t3\tf/x.mp3\n", "row 1, column 'rock': '3' is neither 0"),
        ("annotations_final.csv", "clip_id\trock\tmp3_path\n2\t1\n", "row 1: 2 cells, but the header has 3"),
        (
            "annotations_final.csv",
            "clip_id\trock\tmp3_path\n2\t1\tq/x.mp3\n",
            r"clip 'q/x.mp3'; expected a path in one",
        ),
        ("annotations_final.csv", "clip_id\trock\n2\t1\n", "has no column 'mp3_path'"),
        ("clip_info_final.csv", 'clip_id\tartist\n2\t"X\n6\tY\n', "clip_info_final.csv, row 1: a quote does not end"),
        ("clean.tsv", "f/x-1.mp3\tdev\n", r"clean.tsv, row 1: expected a path, a tab and one of \['train'"),
        ("clean.tsv", "f/other.mp3\ttest\n", "clean.tsv, row 1: clip 'f/other.mp3' is not in the tables"),
    ],
)
def test_a_wrong_table_of_magnatagatune(tmp_path: Path, file: str, text: str, words: str):
    audio = write(tmp_path, MTAT | {file: text})
    with pytest.raises(ValueError, match=words):
        list_songs("mtat", audio, clean=f"{audio}/clean.tsv" if file == "clean.tsv" else "")


def test_magnatagatune_without_artists_is_refused(tmp_path: Path):
    (tmp_path / "annotations_final.csv").write_text(MTAT["annotations_final.csv"])
    with pytest.raises(FileNotFoundError, match=r"clip_info_final.csv does not exist; it holds the artists"):
        list_songs("mtat", str(tmp_path))


TRACKS = ("TRAAAAK128F9318786", "TRYOHDQ12903CB277E", "TRZZZZD128F4236844")


def test_million_song_dataset_by_a_table(tmp_path: Path):
    first, second, third = TRACKS
    rows = [
        {"track_id": first, "tags": ["rock", "80s"], "artist": "A", "split": "train"},
        {"track_id": second, "tags": ["rock"], "artist": "B", "split": "test", "path": "8/9/8947470.clip.mp3"},
        {"track_id": third, "tags": [], "artist": "C", "split": "test"},
    ]
    table = write(tmp_path, {"msd.jsonl": "\n".join(map(json.dumps, rows))}) + "/msd.jsonl"
    songs, vocabulary = list_songs("msd", "s3://music/msd", tables=table)
    assert (vocabulary.names, vocabulary.exclusive) == (["rock", "80s"], False)
    assert [(song.path, song.artist, song.split) for song in songs] == [
        (f"s3://music/msd/A/A/A/{first}.mp3", "A", "train"),
        ("s3://music/msd/8/9/8947470.clip.mp3", "B", "test"),
    ]
    assert len(list_songs("msd", "/msd", tables=table, splits=["test"])[0]) == 1
    write(tmp_path, {"msd.csv": "track_id,tags\n../etc,rock\n"})
    with pytest.raises(ValueError, match=r"msd.csv, row 1: '../etc' is not an id of the Million Song Dataset"):
        list_songs("msd", "/msd", tables=f"{tmp_path}/msd.csv")


MSD_INDEX = {
    "index_msd.tsv": "".join(f"{t}\t{t[2]}/{t[3]}/{t[4]}/{t}.mp3\n" for t in TRACKS),
    "output_labels_msd.txt": "# Output labels\nMSD_LABELS = ['rock','Hip-Hop']\n",
    "train_gt_msd.tsv": f"{TRACKS[0]}\t[1, 0]\n",
    "val_gt_msd.tsv": f"{TRACKS[1]}\t[1, 1]\n",
    "test_gt_msd.tsv": f"{TRACKS[2]}\t[0, 0]\n",
}


def test_million_song_dataset_by_the_index_of_musicnn(tmp_path: Path):
    songs, vocabulary = list_songs("msd", write(tmp_path, MSD_INDEX))
    assert vocabulary.names == ["rock", "Hip-Hop"]
    assert [(song.split, set(song.labels)) for song in songs] == [
        ("train", {"rock"}), ("validation", {"rock", "Hip-Hop"}), ("test", set())
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("val_gt_msd.tsv", "TRX\t[1, 0]\n", "val_gt_msd.tsv, row 1: id 'TRX' is not in index_msd.tsv"),
        ("val_gt_msd.tsv", f"{TRACKS[0]}\t[1, 0]\n", "row 1: id .* has labels twice, here and in split train"),
        ("val_gt_msd.tsv", f"{TRACKS[1]}\t[1, 2]\n", "row 1: expected an id, a tab and a list of 2 zeros and ones"),
        ("val_gt_msd.tsv", f"{TRACKS[1]}\n", "row 1: expected an id, a tab and a list"),
        ("index_msd.tsv", f"{TRACKS[1]}\n", "index_msd.tsv, row 1: 1 cells"),
        ("output_labels_msd.txt", "MSD_LABELS = __import__('os').getcwd()\n", "does not assign a list of tag names"),
    ],
)
def test_a_wrong_index(tmp_path: Path, file: str, text: str, words: str):
    with pytest.raises(ValueError, match=words):
        list_songs("msd", write(tmp_path, MSD_INDEX | {file: text}))


FMA_TRACKS = """\
,album,artist,set,set,track,track
,title,id,split,subset,genre_top,genres_all
track_id,,,,,,
2,"two
lines",1,training,small,Hip-Hop,[21]
3000,b,1,validation,medium,Rock,"[12, 25]"
140,c,2,test,large,,"[21, 25]"
141,d,3,test,large,,[]
"""
FMA_GENRES = "genre_id,#tracks,parent,title,top_level\n12,1,0,Rock,12\n21,1,0,Hip-Hop,21\n25,1,12,Punk,12\n"
FMA = {"fma_metadata/tracks.csv": FMA_TRACKS, "fma_metadata/genres.csv": FMA_GENRES}


def test_free_music_archive(tmp_path: Path):
    audio = write(tmp_path, FMA)
    songs, vocabulary = list_songs("fma", audio)
    assert [(song.path, song.split, song.artist) for song in songs] == [
        (f"{audio}/fma_small/000/000002.mp3", "train", "1")
    ]
    songs, vocabulary = list_songs("fma", audio, subset="medium")
    assert (vocabulary.names, vocabulary.exclusive) == (["Hip-Hop", "Rock"], True)
    assert songs[1].path == f"{audio}/fma_medium/003/003000.mp3"
    songs, vocabulary = list_songs("fma", "s3://music/fma", subset="full", tables=f"{audio}/fma_metadata")
    assert (vocabulary.names, vocabulary.exclusive) == (["Hip-Hop", "Rock"], False)
    assert [set(song.labels) for song in songs] == [{"Hip-Hop"}, {"Rock"}, {"Hip-Hop", "Rock"}, set()]
    assert songs[2].path == "s3://music/fma/000/000140.mp3"


def test_a_song_of_fma_has_one_key_in_every_subset(tmp_path: Path):
    audio = write(tmp_path, FMA)
    assert len({list_songs("fma", audio, subset=subset)[0][0].key for subset in ("small", "medium", "full")}) == 1


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("tracks", "split,subset", "a,b", r"three header rows; missing: \['set.split', 'set.subset'\]"),
        ("tracks", "track_id,,,,,,\n", "", r"three header rows; missing: \['track_id'\]"),
        ("tracks", ",validation,", ",dev,", "tracks.csv, row 2: split 'dev' is none of"),
        ("tracks", "141,d", "d", "tracks.csv, row 4: expected 7 cells"),
        ("tracks", '"[21, 25]"', '"[21, 99]"', "tracks.csv, row 3: genres_all '.21, 99.' is not a list of ids"),
        ("genres", "Punk,12", "Punk,7", "genres.csv: top_level 7 is not the id of a genre"),
    ],
)
def test_a_wrong_table_of_fma(tmp_path: Path, file: str, old: str, new: str, words: str):
    name = f"fma_metadata/{file}.csv"
    audio = write(tmp_path, FMA | {name: FMA[name].replace(old, new)})
    with pytest.raises(ValueError, match=words):
        list_songs("fma", audio, subset="large")


def test_gtzan_as_it_unpacks(tmp_path: Path):
    audio = write(
        tmp_path, {"rock/rock.00000.wav": "", "jazz/jazz.00054.au": "", "rock/._rock.00001.wav": "", "a.wav": ""}
    )
    songs, vocabulary = list_songs("gtzan", audio)
    assert (vocabulary.names, vocabulary.exclusive) == (["jazz", "rock"], True)
    assert [(song.path, song.split) for song in songs] == [
        (f"{audio}/jazz/jazz.00054.au", None), (f"{audio}/rock/rock.00000.wav", None)
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"no clip like blues/blues.00000.wav; give the folder"):
        list_songs("gtzan", str(tmp_path.parent))
    with pytest.raises(FileNotFoundError, match=r"train_filtered.txt does not exist; .*options.lists"):
        list_songs("gtzan", audio, split="filtered")
    lists = write(tmp_path, {"train_filtered.txt": "rock/jazz.00000.wav\n"})
    with pytest.raises(ValueError, match=r"train_filtered.txt, row 1: 'rock/jazz.00000.wav' is not a path like"):
        list_songs("gtzan", audio, split="filtered", lists=lists)


HEADER = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("PATH\tTAGS\na\tb\n", r"begins with \['PATH', 'TAGS'\]; expected the columns TRACK_ID"),
        (f"{HEADER}t\ta\tb\t1.mp3\tlong\tx\n", "row 1, DURATION: 'long' is not a length in seconds"),
        (f"{HEADER}t\ta\tb\t1.mp3\t3\n", "row 1: 5 cells; expected at least 6"),
        (f"{HEADER}t\ta\tb\t1.mp3\t3\tx\nt\ta\tb\t1.mp3\t3\tx\t\n", "row 2: the path or a tag is empty"),
    ],
)
def test_a_wrong_split_of_jamendo(tmp_path: Path, text: str, words: str):
    with pytest.raises(ValueError, match=words):
        list_songs("jamendo", write(tmp_path, {"autotagging_moodtheme-train.tsv": text}))


MUSIC4ALL = {
    "id_genres.csv": "id\tgenres\na\trock,pop\nb\tpop\nc\t\n",
    "id_tags.csv": "id\ttags\na\tlive\nb\t\nc\tlive,90s\n",
    "id_information.csv": 'id\tartist\tsong\talbum_name\na\t"Weird Al" Y\ts\tl\nb\tB\ts\tl\nc\tC\ts\tl\n',
}


def test_music4all(tmp_path: Path):
    audio = write(tmp_path, MUSIC4ALL)
    songs, vocabulary = list_songs("music4all", audio)
    assert (vocabulary.names, vocabulary.exclusive) == (["pop", "rock"], False)
    assert [(song.path, song.artist, song.split) for song in songs] == [
        (f"{audio}/audios/a.mp3", "Weird Al Y", None), (f"{audio}/audios/b.mp3", "B", None)
    ]  # fmt: skip
    songs, vocabulary = list_songs("music4all", "s3://m/clips", labels="tags", top=1, tables=audio)
    assert vocabulary.names == ["live"]
    assert [song.path for song in songs] == ["s3://m/clips/a.mp3", "s3://m/clips/c.mp3"]
    write(tmp_path, {"id_genres.csv": "id\tgenres\nz\tpop\n"})
    with pytest.raises(ValueError, match=r"id_genres.csv, row 1: id 'z' is not in id_information.csv"):
        list_songs("music4all", audio)


def test_fma_small_of_hugging_face(tmp_path: Path):
    write(tmp_path, {"clips/1.mp3": "", "clips/2.mp3": ""})
    audio = pa.array([{"bytes": None, "path": "clips/1.mp3"}, {"bytes": None, "path": "clips/2.mp3"}])
    features = {"genre": {"names": ["Electronic", "Hip-Hop"], "_type": "ClassLabel"}}
    table = pa.table({"audio": audio, "genre": [1, 0]})
    named = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (tmp_path / "data").mkdir()
    pq.write_table(named, tmp_path / "data" / "train-00000-of-00001.parquet")
    pq.write_table(named.slice(1), tmp_path / "data" / "validation-00000-of-00001.parquet")
    songs, vocabulary = list_songs("fma_hf", str(tmp_path))
    assert vocabulary.exclusive
    assert [(song.path, set(song.labels), song.split) for song in songs] == [
        (f"{tmp_path}/clips/1.mp3", {"Hip-Hop"}, "train"),
        (f"{tmp_path}/clips/2.mp3", {"Electronic"}, "train"),
        (f"{tmp_path}/clips/2.mp3", {"Electronic"}, "validation"),
    ]
    pq.write_table(table, tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(ValueError, match=r"row 1: genre 1 has no name; give the names: \+options.names"):
        list_songs("fma_hf", str(tmp_path))
    songs, _ = list_songs("fma_hf", str(tmp_path), names=["A", "B"], tables=["data/train-00000-of-00001.parquet"])
    assert [set(song.labels) for song in songs] == [{"B"}, {"A"}]
    with pytest.raises(ValueError, match=r"row 1: '1' is not the number of one of 1 classes"):
        list_songs("fma_hf", str(tmp_path), names=["A"])


def test_a_dataset_whose_songs_are_nowhere_is_refused(tmp_path: Path):
    nowhere = pa.table({"audio": pa.array([{"bytes": None, "path": "1.mp3"}]), "genre": ["Rock"]})
    pq.write_table(nowhere, tmp_path / "train.parquet")
    with pytest.raises(
        FileNotFoundError, match=r"/1.mp3 does not exist; songs must be embedded in the table or be beside"
    ):
        list_songs("fma_hf", str(tmp_path))
