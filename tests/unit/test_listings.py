"""Nothing that lies under ``audio`` is passed over in silence, and a name is one name however it is written."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from helpers.job_runs import run
from helpers.small_corpus import make_song, shard_here

from genrescale.audio import SPLITS, earlier_key, song_key
from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import list_corpus
from genrescale.data.corpora.song_addresses import canonical
from genrescale.data.corpora.walking import UNNAMED, listed_files, passed_over
from genrescale.data.sharding.plan_file import fix_plan, read_plan
from genrescale.data.upkeep.take_down import take_down
from genrescale.storage.errors import StoreError
from genrescale.storage.store import Store


def make(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"x")


def table(folder: Path, text: str | bytes) -> str:
    path = folder / "s.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def files_below(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def test_a_bucket_that_may_be_read_but_not_listed_is_not_accounted_for(monkeypatch: pytest.MonkeyPatch):
    def denied(*_: object) -> None:
        raise StoreError("s3://music: access denied")

    for method in ("exists", "sizes"):
        monkeypatch.setattr(Store, method, denied)
        passed = passed_over(Store("s3://music"), ["s3://music/a.mp3"])
        assert passed.lines() == ["what lies beside the songs could not be listed: s3://music: access denied"]
        assert (passed.found, len(passed)) == (0, 0)
        monkeypatch.setattr(Store, "exists", lambda *_: True)


def test_songs_and_files_passed_over_are_all_files(tmp_path: Path):
    music = tmp_path / "music"
    make(
        music, "rock/a.mp3", "rock/b.M4B", "rock/.DS_Store", "rock/notes.txt", "loose.mp3", "jazz/deep/c.caf", "README"
    )
    make(tmp_path / "other", "d.mp3")
    (music / "pop").symlink_to(tmp_path / "other")
    (music / "rock/gone.mp3").symlink_to(tmp_path / "nowhere")
    (music / "rock/loop").symlink_to(music)
    os.mkfifo(music / "rock/pipe.mp3")
    listing = list_corpus("folder", str(music))
    assert len(listing.songs) == 3
    assert len(listing.songs) + len(listing.passed) == files_below(music) + 2  # the two linked folders
    assert listing.passed.account() == "11 files found: 3 of songs, 8 passed over"
    assert listing.lines() == [
        "passed over (hidden, because the name begins with a dot): 1, namely rock/.DS_Store",
        "passed over (linked folders, which are not followed; cp -rL makes a copy): 2, namely pop, rock/loop",
        "passed over (links that lead nowhere): 1, namely rock/gone.mp3",
        "passed over (no plain files): 1, namely rock/pipe.mp3",
        "passed over (no suffix): 1, namely README",
        "passed over (songs beside the label folders): 1, namely loose.mp3",
        "passed over (suffix .txt): 1, namely rock/notes.txt",
    ]


def test_what_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make(tmp_path, "rock/a.mp3", "secret/b.mp3", "rock/c.mp3")
    scandir = os.scandir

    def forbidden(path: Path) -> Iterable[os.DirEntry[str]]:
        if Path(path).name == "secret":
            raise PermissionError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    monkeypatch.setattr(os, "access", lambda path, _: not str(path).endswith("c.mp3"))
    files, passed = listed_files(Store(str(tmp_path)))
    assert files == ["rock/a.mp3"]
    assert passed.lines() == ["passed over (not readable for this user): 2, namely rock/c.mp3, secret"]


def test_a_name_that_is_not_unicode_costs_its_song_only(tmp_path: Path):
    make(tmp_path, "rock/a.mp3")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/rock/\xe9.mp3")).write_bytes(b"x")
    listing = list_corpus("folder", str(tmp_path))
    assert len(listing.songs) == 1
    assert listing.lines() == [r"passed over (names that are not Unicode text; rename them): 1, namely rock/\udce9.mp3"]


def test_songs_that_no_table_names_are_counted(tmp_path: Path):
    make(
        tmp_path,
        *(f"{split}/{label}/{i}.wav" for split in ("train", "test") for label in ("rock", "jazz") for i in "01"),
    )
    (tmp_path / "train/metadata.csv").write_text("file_name,label\nrock/0.wav,rock\nrock/1.wav,rock\n")
    listing = list_corpus("audiofolder", str(tmp_path))
    assert len(listing.songs) == 2
    [told] = listing.lines()
    assert told.startswith("passed over (songs that no table names): 6, the first test/jazz/0.wav, ")
    assert listing.passed.account() == "9 files found: 2 of songs, 1 tables, 6 passed over"


def test_published_corpora_tell_what_their_tables_do_not_name(tmp_path: Path):
    gtzan = tmp_path / "gtzan"
    make(gtzan, "blues/blues.00000.wav", "rock/rock.00001.wav", "rock/rock.1.wav", "rock/._rock.00001.wav", "a.txt")
    listing = list_corpus("gtzan", str(gtzan))
    assert listing.passed.account() == "5 files found: 2 of songs, 3 passed over"
    assert f"passed over ({UNNAMED}): 1, namely rock/rock.1.wav" in listing.lines()
    for split, number in (("train", 0), ("valid", 1), ("test", 2)):
        (gtzan / f"{split}_filtered.txt").write_text(f"blues/blues.0000{number}.wav\n")
    listing = list_corpus("gtzan", str(gtzan), split="filtered")
    assert listing.passed.account() == "8 files found: 1 of songs, 7 passed over"  # two of its songs do not lie there
    hub = tmp_path / "hub"
    make(hub, "clips/1.mp3", "clips/2.mp3", "clips/cover.png")
    rows = [{"file_name": "clips/1.mp3", "genre": "Rock"}]
    pq.write_table(pa.Table.from_pylist(rows), hub / "train.parquet")
    listing = list_corpus("fma_hf", str(hub))
    assert listing.passed.account() == "4 files found: 1 of songs, 1 tables, 2 passed over"
    assert listing.lines() == [
        f"passed over ({UNNAMED}): 1, namely clips/2.mp3",
        "passed over (suffix .png): 1, namely clips/cover.png",
    ]
    jamendo = tmp_path / "jamendo"
    make(jamendo, "15/1.mp3", "15/2.mp3", "15/1.low.mp3")
    for i, split in enumerate(SPLITS):
        header = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
        (jamendo / f"autotagging_moodtheme-{split}.tsv").write_text(f"{header}t{i}\ta{i}\tb\t15/{i + 1}.mp3\t1\tcalm\n")
    listing = list_corpus("jamendo", str(jamendo))
    assert listing.passed.account() == "6 files found: 2 of songs, 3 tables, 1 passed over"
    assert listing.lines() == [f"passed over ({UNNAMED}): 1, namely 15/1.low.mp3"]


def test_an_account_that_is_not_right_is_an_error_that_names_the_difference(tmp_path: Path):
    make(tmp_path, "rock/a.mp3", "rock/b.mp3")
    passed = list_corpus("folder", str(tmp_path)).passed
    passed.songs = 1
    with pytest.raises(AssertionError, match=r"2 files were found, but 1 are songs, .* which leaves 1: this is a bug"):
        passed.account()
    songs = [make_song(tmp_path, i) for i in range(8)]
    result = shard_here(songs, Store(str(tmp_path / "out")))
    result.check_given(song.key for song in songs)
    with pytest.raises(AssertionError, match=r"9 songs and rows were listed, but 8 were given .*, which leaves 1"):
        result.check_given([*(song.key for song in songs), "lost"])
    take_down(Store(result.manifest.uri), ["s02"], "asked to")
    shard_here(songs[:2] + songs[3:], Store(result.manifest.uri)).check_given(s.key for s in songs if s.key != "s02")


def test_the_job_tells_what_it_passes_over(tmp_path: Path):
    for i in range(12):
        path = tmp_path / f"music/{'rock' if i % 2 else 'jazz'}/{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.tile([0.1, -0.1], 12_000), 16_000)
    make(tmp_path / "music", "rock/cover.jpg")
    settings = ["corpus=folder", f"audio={tmp_path / 'music'}", f"out={tmp_path / 'out'}", "max_failure_rate=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genrescale.launch.cluster._private_options", lambda *_: {})
        patch.setattr("ray.init", lambda **_: None)
        patch.setattr("genrescale.data.sharding.job.run_tasks", lambda function, items, **_: map(function, items))
        ended = run("shard_corpus", *settings)
    assert ended.returncode == 0, ended.stderr
    assert "passed over (suffix .jpg): 1, namely rock/cover.jpg" in ended.stdout
    assert "13 files found: 12 of songs, 1 passed over" in ended.stdout


def test_keys_of_names_in_any_script_hold_ten_million_songs():
    """Two names of which nothing stays readable are told apart by 64 bits; by 32, as before, these two were not."""
    first, second = (f"{chr(0x430 + i % 32)}{i}ж.mp3" for i in (1, 2))
    for name in (first, second, "日本.mp3", "x" * 300 + ".mp3"):
        key = song_key(name)
        assert len(key.rpartition("-")[2]) == 16
        assert earlier_key(key) == key[:-8]
    assert earlier_key(song_key("a/b.mp3")) == song_key("a/b.mp3")


def test_names_whose_hashes_begin_alike_are_different_songs(tmp_path: Path):
    """The first 32 bits of the hashes of these two names are the same."""
    paths = [f"рок/{name}.wav" for name in ("изта", "мбтс", "ель", "мир")]
    assert earlier_key(song_key(paths[0])) == earlier_key(song_key(paths[1]))
    make(tmp_path, *paths)
    assert len({song.key for song in list_corpus("folder", str(tmp_path)).songs}) == 4
    listing = list_corpus("table", table(tmp_path, "path,labels\n" + "".join(f"{path},rock\n" for path in paths)))
    assert len({song.key for song in listing.songs}) == 4
    assert listing.rejected == ()


def test_every_suffix_that_can_be_decoded_is_listed(tmp_path: Path):
    suffixes = ("m4b", "caf", "aifc", "tta", "ac3", "mkv", "w64", "amr", "3gp", "mp3", "MP3", "opus", "dts", "webm")
    make(tmp_path, *(f"rock/{i}.{suffix}" for i, suffix in enumerate(suffixes)))
    for corpus in ("folder", "audiofolder"):
        listing = list_corpus(corpus, str(tmp_path))
        assert len(listing.songs) == len(suffixes)
        assert listing.passed.account() == f"{len(suffixes)} files found: {len(suffixes)} of songs, 0 passed over"


def test_an_audiofolder_tells_of_linked_folders_too(tmp_path: Path):
    make(tmp_path / "music", "rock/a.mp3", "rock/b.mp3")
    make(tmp_path / "other", "c.mp3")
    (tmp_path / "music/jazz").symlink_to(tmp_path / "other")
    for corpus in ("folder", "audiofolder"):
        listing = list_corpus(corpus, str(tmp_path / "music"))
        assert listing.passed.account() == "3 files found: 2 of songs, 1 passed over"
        assert any("linked folders, which are not followed" in line and "jazz" in line for line in listing.lines())


def test_a_corpus_of_before_keeps_its_keys(tmp_path: Path):
    make(tmp_path, *(f"music/{label}/{i}.mp3" for label in ("рок", "джаз") for i in range(8)))
    out, settings = Store(str(tmp_path / "out")), ShardSettings(songs_per_shard=4, val_fraction=0.2, test_fraction=0.2)
    songs, vocabulary = list_corpus("folder", str(tmp_path / "music")).strict()
    before = [replace(song, key=earlier_key(song.key)) for song in songs]
    plan = fix_plan(before, vocabulary, settings, out)
    assert fix_plan(songs, vocabulary, settings, out).songs == plan.songs
    make(tmp_path, "music/рок/new.mp3")
    songs, vocabulary = list_corpus("folder", str(tmp_path / "music")).strict()
    grown = fix_plan(songs, vocabulary, settings, out, append=True)
    assert {song.key for song in grown.songs} - {song.key for song in before} == {song_key("рок/new.mp3")}
    assert len(read_plan(out).songs) == 17


def test_a_missing_artist_is_no_artist(tmp_path: Path):
    rows = [{"path": f"{i}.wav", "labels": "rock", "artist": artist} for i, artist in enumerate(ARTISTS)]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    listing = list_corpus("table", str(tmp_path / "s.jsonl"))
    assert [song.artist for song in listing.songs] == ["", "", "", "7", "7", "ABBA, Queen", "ABBA"]


ARTISTS = [float("nan"), None, " ", 7, 7.0, ["ABBA", "Queen"], " ABBA "]


def test_labels_that_look_the_same_are_one(tmp_path: Path):
    forms = [unicodedata.normalize(form, "Électro") for form in ("NFC", "NFD")]
    make(tmp_path / "music", *(f"{form}/{i}.mp3" for i, form in enumerate(forms)))
    assert list_corpus("folder", str(tmp_path / "music")).vocabulary.names == ["Électro"]
    text = "path,labels\na.wav,hip hop\nb.wav,hip\u00a0hop\nc.wav,\u200brock\nd.wav,rock\ne.wav,Rock\nf.wav,hip-hop\n"
    listing = list_corpus("table", table(tmp_path, text))
    assert listing.vocabulary.names == ["Rock", "hip hop", "hip-hop", "rock"]
    assert listing.lines() == [
        "note: labels that look alike: 'Rock', 'rock'",
        "note: labels that look alike: 'hip hop', 'hip-hop'",
    ]


def test_lists_that_were_written_as_text_are_lists(tmp_path: Path):
    text = (
        'path,labels\na.wav,"[\'rock\', \'pop\']"\nb.wav,"rock, jazz"\nc.wav,rock;pop\nd.wav,"[21, 12]"\ne.wav,[live]\n'
    )
    listing = list_corpus("table", table(tmp_path, text))
    assert listing.vocabulary.names == ["12", "21", "[live]", "pop", "rock", "rock, jazz", "rock;pop"]
    told = "labels with ',' in them: 1, such as 'rock, jazz'; labels are separated by '|'"
    assert any(told in line for line in listing.lines())
    assert list_corpus("table", table(tmp_path, text), separator=",").songs[1].labels == {"rock": 1.0, "jazz": 1.0}


@pytest.mark.parametrize(
    "text",
    [
        "path,labels,,\na.wav,rock,,\nb.wav,jazz,,\n",
        "path,labels\na.wav,rock\nb.wav,jazz\n,\n,\n",
        "sep=,\npath,labels\na.wav,rock\nb.wav,jazz\n",
        "\ufeffsep=;\npath;labels\na.wav;rock\nb.wav;jazz\n",
        " path, labels\na.wav, rock\nb.wav,jazz\n",
    ],
)
def test_tables_are_read_as_spreadsheets_write_them(text: str, tmp_path: Path):
    listing = list_corpus("table", table(tmp_path, text))
    assert [list(song.labels) for song in listing.songs] == [["rock"], ["jazz"]]
    assert listing.rejected == ()


def test_a_column_without_a_name_that_has_cells_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="column 3 has no name, but row 1 has a cell in it; name it"):
        list_corpus("table", table(tmp_path, "path,labels,\na.wav,rock,x\n"))


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("latin-1", r"s.csv, line 3, is not in UTF-8"),
        ("utf-16", "s.csv is in UTF-16; save it as UTF-8"),
        ("utf-16-le", "s.csv is no text file"),
    ],
)
def test_another_encoding_is_named_with_its_line(encoding: str, told: str, tmp_path: Path):
    with pytest.raises(ValueError, match=told):
        list_corpus("table", table(tmp_path, "path,labels\na.wav,rock\nb.wav,électro\n".encode(encoding)))


@pytest.mark.parametrize(
    ("text", "place"),
    [('"path,labels\na.wav,rock\n', "its header"), ('path,labels\na.wav,rock\n"b.wav,rock\n', "row 2")],
)
def test_a_quote_that_does_not_end_is_named_by_a_row_that_exists(text: str, place: str, tmp_path: Path):
    with pytest.raises(ValueError, match=f"s.csv, {place}: .*; quote or repair the row"):
        list_corpus("table", table(tmp_path, text))


def test_one_file_under_several_spellings_is_one_song(tmp_path: Path):
    text = "path,labels\nm/0.wav,rock\n./m/0.wav,jazz\nm//0.wav,pop\nm/../m/0.wav,rock\n"
    listing = list_corpus("table", table(tmp_path, text + f"{tmp_path}/m/0.wav,rock\nfile://{tmp_path}/m/0.wav,rock\n"))
    assert len(listing.songs) == 1
    assert [row.reason.partition(",")[0] for row in listing.rejected] == [
        f"row {i}: row 1 names the same song" for i in range(2, 7)
    ]
    assert canonical("HTTP://Host/a/./b.mp3?x=1") == canonical("http://host/a/b.mp3?x=1")
    assert canonical("s3://b/a//c.mp3") != canonical("s3://b/a/c.mp3")


def test_a_list_that_would_fill_the_memory_is_not_parsed(tmp_path: Path):
    """Parsed, a list takes a hundred times the memory of its text."""
    cell = f"[{'1,' * 6000}1]"
    listing = list_corpus("table", table(tmp_path, f'path,labels\na.wav,"{cell}"\nb.wav,[1]\n'))
    assert listing.vocabulary.names == ["1", cell]


def test_the_ends_of_names_are_not_told_one_by_one(tmp_path: Path):
    make(tmp_path, "rock/a.mp3", *(f"rock/take.{i}" for i in range(50)))
    assert list_corpus("folder", str(tmp_path)).lines() == [
        "passed over (other suffixes): 50, the first rock/take.0, rock/take.1, rock/take.10"
    ]


def test_songs_beside_those_of_a_table_are_told(tmp_path: Path):
    """Where its songs lie, and nowhere else: a table may lie in a folder with much that is not its corpus."""
    make(tmp_path, "clips/a.mp3", "clips/b.mp3", "clips/cover.jpg", "clips/.b.mp3", "c.mp3", "d.mp3", "other/e.mp3")
    path = table(tmp_path, "path,labels\nclips/a.mp3,rock\n./c.mp3,rock\nclips/bad.mp3,\n,rock\n")
    listing = list_corpus("table", path)
    assert len(listing.songs) == 3
    assert listing.passed.account() == "6 files found: 2 of songs, 4 passed over"
    assert listing.passed.lines() == [
        "passed over (hidden, because the name begins with a dot): 1, namely clips/.b.mp3",
        "passed over (songs that no row of the table names): 2, namely clips/b.mp3, d.mp3",
        "passed over (suffix .jpg): 1, namely clips/cover.jpg",
    ]


def test_folders_without_a_song_are_told(tmp_path: Path):
    make(tmp_path, "rock/a.mp3", "polka/notes.txt", ".git/config")
    (tmp_path / "jazz").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "rock")  # told as such, once
    lines = list_corpus("folder", str(tmp_path)).lines()
    assert "note: 2 folders without a song, so the corpus lacks their labels: namely jazz, polka" in lines
    (tmp_path / "jazz/b.mp3").touch()
    (tmp_path / "polka/c.mp3").touch()
    assert "without a song" not in str(list_corpus("folder", str(tmp_path)).lines())
