"""A bad row of a table does not refuse the table: it is in the quarantine with its number and reason, and counted."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.bad_rows import check_corpus
from helpers.mutations import BY_FFMPEG, IN_PROCESS, TABLES
from helpers.small_corpus import contents, shard_here

from genrescale.audio import SAMPLE_RATE
from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import list_corpus, list_songs
from genrescale.data.quarantine import read_quarantine
from genrescale.data.sharding.errors import FailureBudgetError
from genrescale.data.sharding.plan_file import fix_plan, read_plan
from genrescale.data.sharding.result import ShardingResult
from genrescale.data.upkeep.inspect import inspect
from genrescale.data.upkeep.take_down import take_down
from genrescale.data.upkeep.verify import verify_manifest
from genrescale.describe.words import describe_text
from genrescale.storage.store import Store

SETTINGS = ShardSettings(songs_per_shard=4, val_fraction=0.2, test_fraction=0.0, min_s=0.05)
NUM_SONGS = 12


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("formats")


@pytest.mark.parametrize("kind", TABLES)
def test_of_a_spoilt_table_every_row_is_in_a_shard_or_in_quarantine(tmp_path: Path, formats: Path, kind: str):
    damaged = dict.fromkeys(IN_PROCESS, 4) | dict.fromkeys(BY_FFMPEG, 1)
    became = check_corpus(tmp_path, formats, kind, seed=20_000, num_rows=250, damaged=damaged)
    assert min(became["rejected"], became["kept"]) > 25
    assert min(became["refused"], became["kept_damaged"]) > 1


def write_table(folder: Path, changed: Mapping[int, str] | None = None, num_songs: int = NUM_SONGS) -> str:
    """A table of songs of half a second; the row ``i`` (from 1) is ``changed[i]``."""
    for i in range(num_songs):
        path = folder / f"{i}.wav"
        if not path.exists():
            soundfile.write(path, 0.1 * np.random.default_rng(i).standard_normal(SAMPLE_RATE // 2), SAMPLE_RATE)
    rows = {i + 1: f"{i}.wav,{('rock', 'jazz')[i % 2]},a{i},0.5" for i in range(num_songs)} | dict(changed or {})
    (folder / "songs.csv").write_text("\n".join(["path,labels,artist,regress:energy", *rows.values()]))
    return str(folder / "songs.csv")


def shard(table: str, out: Store, append: bool = False, settings: ShardSettings = SETTINGS) -> ShardingResult:
    listing = list_corpus("table", table)
    return shard_here(listing.songs, out, append, settings, listing.vocabulary, listing.rejected)


def reasons(out: Store) -> list[tuple[str, str]]:
    return [(Path(song.path).name, song.reason) for song in read_quarantine(out)]


BAD = {3: ",rock,a,0.5", 5: "4.wav,jazz,a,7", 6: "0.wav,jazz,a,0.5"}
REASONS = [
    ("0.wav", "row 6: row 1 names the same song, {folder}/0.wav"),
    ("4.wav", "row 5, column regress:energy: 7.0 is not in [0, 1]"),
    ("songs.csv", "row 3: the path is empty"),
]


def test_bad_rows_are_named_everywhere_and_the_rest_is_a_corpus(tmp_path: Path):
    table, out = write_table(tmp_path, BAD), Store(str(tmp_path / "out"))
    result = shard(table, out)
    expected = [(name, reason.format(folder=tmp_path)) for name, reason in REASONS]
    assert sorted(reasons(out)) == expected
    assert len(result.manifest) == NUM_SONGS - 3
    assert "12 songs given: 9 in shards (0 excluded as copies across splits), 3 in quarantine, 0" in result.summary()
    assert "3 songs in quarantine, 3 of them rows of a table without a song" in result.summary()
    assert all(reason in result.summary() for _, reason in expected)
    assert "quarantined: 1 song, row 3: the path is empty (e.g. " in describe_text(result.manifest)
    assert verify_manifest(result.manifest) == []
    key = next(song.key for song in read_quarantine(out) if "row 5" in song.reason)
    assert "is in quarantine: row 5, column regress:energy" in "".join(inspect(result.manifest, key))


def test_a_table_is_read_strictly_where_nobody_keeps_its_bad_rows(tmp_path: Path):
    with pytest.raises(ValueError, match=r"songs\.csv, row 3: the path is empty$"):
        list_songs("table", write_table(tmp_path, BAD))


def test_bad_rows_do_not_change_what_is_written_for_the_others(tmp_path: Path):
    table, out = write_table(tmp_path, BAD), Store(str(tmp_path / "out"))
    shard(table, out)
    lines = Path(table).read_text().splitlines()
    Path(table).write_text("\n".join(line for i, line in enumerate(lines) if i not in BAD))
    clean = Store(str(tmp_path / "clean"))
    shard(table, clean)
    shards = {name: data for name, data in contents(clean.uri).items() if name.startswith("shards/")}
    assert shards.items() <= contents(out.uri).items()


def test_a_killed_job_and_a_second_one_end_with_the_same_bytes(tmp_path: Path):
    table, out = write_table(tmp_path, BAD), Store(str(tmp_path / "out"))
    shard(table, out)
    before, other = contents(out.uri), Store(str(tmp_path / "other"))
    listing = list_corpus("table", table)
    fix_plan(listing.songs, listing.vocabulary, SETTINGS, other, False, listing.rejected)  # killed behind the plan
    shard(table, other)
    names = {name for name in before if not name.startswith("manifest")}
    assert {name: contents(other.uri)[name] for name in names} == {name: before[name] for name in names}
    assert shard(table, out).written == 0
    assert contents(out.uri) == before


def test_a_mended_row_is_an_addition(tmp_path: Path):
    table, out = write_table(tmp_path, BAD), Store(str(tmp_path / "out"))
    shard(table, out)
    write_table(tmp_path, {6: BAD[6]})
    with pytest.raises(ValueError, match=r"2 songs added to 9, .* 1 rows have no song, .*row 6: .*append=true"):
        shard(table, out)
    result = shard(table, out, append=True)
    assert (len(result.manifest), len(result.quarantined), result.given) == (11, 1, NUM_SONGS)


def test_a_song_that_becomes_a_bad_row_is_missed(tmp_path: Path):
    table, out = write_table(tmp_path), Store(str(tmp_path / "out"))
    shard(table, out)
    write_table(tmp_path, {5: BAD[5]})
    with pytest.raises(ValueError, match=r"1 of 12 songs no longer listed, .* 1 rows have no song, the first: .*row 5"):
        shard(table, out)


def test_bad_rows_count_in_the_failure_budget_before_anything_is_planned(tmp_path: Path):
    bad = BAD | {7: "6.wav,rock,a,x"}
    table, out = write_table(tmp_path, bad), Store(str(tmp_path / "out"))
    with pytest.raises(FailureBudgetError, match=r"4 of 12 songs failed, more than the 3 .*Repair the table and run"):
        shard(table, out)
    assert (out.list(), len(reasons(out))) == (["quarantine.parquet"], 4)
    shard(write_table(tmp_path, BAD), out)  # the mended row is no addition: there was no plan
    assert len(reasons(out)) == 3
    with pytest.raises(FailureBudgetError, match="more than the 0 that max_failure_rate=0"):
        shard(table, Store(str(tmp_path / "none")), settings=replace(SETTINGS, max_failure_rate=0.0))


def test_rows_and_songs_fail_on_one_budget(tmp_path: Path):
    table, out = write_table(tmp_path, BAD), Store(str(tmp_path / "out"))
    (tmp_path / "8.wav").write_bytes(b"")
    with pytest.raises(FailureBudgetError, match=r"4 of 12 songs failed, .*rows of a table: with append=true"):
        shard(table, out)
    assert len(reasons(out)) == 4


def test_bad_rows_of_an_addition_do_not_hide_in_a_large_corpus(tmp_path: Path):
    settings = replace(SETTINGS, max_failure_rate=0.2, songs_per_shard=50)
    table, out = write_table(tmp_path, BAD, 60), Store(str(tmp_path / "out"))
    shard(table, out, settings=settings)
    before = contents(out.uri)
    added = BAD | {60 + i: f"{i}.wav,polka,a,x" for i in range(1, 6)} | {66: "59.wav,rock,a,1", 67: "new.wav,rock,a,1"}
    with pytest.raises(FailureBudgetError, match=r"6 of 7 added songs failed, more than the 3"):
        shard(write_table(tmp_path, added, 60), out, append=True, settings=settings)
    assert {name: data for name, data in contents(out.uri).items() if "quarantine" not in name} == {
        name: data for name, data in before.items() if "quarantine" not in name
    }
    assert len(reasons(out)) == 9
    few = BAD | {61: "1.wav,rock,a,x", 62: "new.wav,rock,a,1"}
    (tmp_path / "new.wav").write_bytes((tmp_path / "1.wav").read_bytes())
    for append in (True, False):  # the second run knows which rows came with the addition
        shard(write_table(tmp_path, few, 60), out, append=append, settings=settings)
        assert len(reasons(out)) == 4
    plan = read_plan(out)
    assert int(plan.generation.max()) == 1


def test_a_bad_row_can_be_taken_down(tmp_path: Path):
    table, out = write_table(tmp_path, BAD), Store(str(tmp_path / "out"))
    shard(table, out)
    key = next(song.key for song in read_quarantine(out) if "row 5" in song.reason)
    take_down(out, [key], "asked to")
    result = shard(table, out)
    assert ("", "taken down: asked to") in [(song.path, song.reason) for song in result.quarantined]
    assert result.given == NUM_SONGS
    mended = write_table(tmp_path, {3: BAD[3], 6: BAD[6]})
    result = shard(mended, out, append=True)  # nothing brings it back
    assert len(result.manifest) == 9
    assert result.given == NUM_SONGS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "path,labels,split\n1.mp3,rock,dev\n2.mp3,rock,tset\n",
            r"songs.csv, row 1: split 'dev' .*no other row can be",
        ),
        ("path;labels\n1.mp3;rock\n", r"no column 'path' for path; it has \['path;labels'\]"),
        ("path,labels\n1.mp3,rock\n2.mp3,rock,live\n", "row 2: 3 cells, but the header has 2"),
        ("path,labels\n,rock\n1.mp3,\n", "no label in any row"),
    ],
)
def test_a_table_that_means_nothing_is_refused_as_a_whole(tmp_path: Path, text: str, words: str):
    (tmp_path / "songs.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        list_corpus("table", str(tmp_path / "songs.csv"))


def test_a_reason_can_be_read_however_large_the_cell(tmp_path: Path):
    (tmp_path / "songs.csv").write_text(f"path,labels,split\n1.mp3,rock,train\n2.mp3,rock,{'x' * 100_000}\n")
    (row,) = list_corpus("table", str(tmp_path / "songs.csv")).rejected
    assert row.reason.startswith("row 2: split 'xxx")
    assert len(row.reason) < 400
