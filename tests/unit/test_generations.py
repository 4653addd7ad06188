"""Songs added to a corpus go behind those that are there; songs taken down go for good."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.job_runs import run
from helpers.small_corpus import NUM_SONGS, SETTINGS, VOCABULARY, contents, flip, make_song, shard_here

from genrescale.audio import Song, Tag, Vocabulary
from genrescale.config.corpus import ShardSettings
from genrescale.data.index import index_path
from genrescale.data.manifest import MANIFEST_PATH, PAGE_PATH, Manifest, read_manifest
from genrescale.data.quarantine import QUARANTINE_PATH, read_quarantine
from genrescale.data.sharding import job as shard_job
from genrescale.data.sharding.budget import Budget
from genrescale.data.sharding.duplicates import find_duplicates
from genrescale.data.sharding.errors import FailureBudgetError
from genrescale.data.sharding.job import write_corpus
from genrescale.data.sharding.plan import HELD_OUT, extend_plan, make_plan
from genrescale.data.sharding.plan_file import fix_plan, read_plan
from genrescale.data.sharding.rebuild import planned_shards, rebuild_index
from genrescale.data.sharding.writer import write_shard
from genrescale.data.takedowns import read_takedowns
from genrescale.data.upkeep import take_down as takedowns
from genrescale.data.upkeep.inspect import inspect
from genrescale.data.upkeep.take_down import take_down
from genrescale.data.upkeep.verify import verify_exclusions, verify_manifest, verify_shard
from genrescale.describe.words import describe_text
from genrescale.storage.parquet import table_bytes
from genrescale.storage.store import Store


@pytest.fixture
def songs(tmp_path: Path) -> list[Song]:
    return [make_song(tmp_path, i) for i in range(NUM_SONGS)]


@pytest.fixture
def out(songs: list[Song], tmp_path: Path) -> Store:
    out = Store(str(tmp_path / "out"))
    shard_here(songs, out)
    return out


def held_out_artist(manifest: Manifest) -> str:
    return manifest.songs["artist"][int(manifest.select("validation")[0])].as_py()


def added_songs(folder: Path, artist: str) -> list[Song]:
    """Nine new songs, the first by an artist of ``artist``."""
    return [make_song(folder, i, artist if i == NUM_SONGS else "") for i in range(NUM_SONGS, NUM_SONGS + 9)]


def keys(manifest: Manifest, split: str, limit: int = 0) -> list[str]:
    return manifest.songs["key"].take(manifest.select(split, limit)).to_pylist()


def is_sound(manifest: Manifest) -> bool:
    store = Store(manifest.uri)
    return (
        not verify_manifest(manifest)
        and not verify_exclusions(manifest)
        and not any(verify_shard(store, manifest, shard) for shard in range(manifest.shards.num_rows))
    )


def test_additions_are_a_generation_behind_the_songs_that_were_there(songs: list[Song], out: Store, tmp_path: Path):
    before, files = read_manifest(out.uri), contents(out.uri)
    added = added_songs(tmp_path, held_out_artist(before))
    result = shard_here([*songs, *added], out, append=True)
    after = read_manifest(out.uri)
    assert result.held_out == 1
    assert "1 added songs held out (listed in plan.parquet)" in result.summary()
    assert len(after) == len(before) + 8
    assert after.version != before.version
    assert keys(after, "validation") == keys(before, "validation")
    assert keys(after, "train")[: len(keys(before, "train"))] == keys(before, "train")
    assert set(keys(after, "train")) - set(keys(before, "train")) == {song.key for song in added[1:]}
    assert after.digest(after.select("train", 8)) == before.digest(before.select("train", 8))
    new = contents(out.uri)
    assert {name for name in files if name.startswith(("shards/", "manifest/")) and files[name] != new[name]} == set()
    assert sorted(set(new) - set(files))[-1].startswith("shards/train-g001-000001")
    assert is_sound(after)


def test_adding_is_asked_for_and_adding_twice_is_adding_once(songs: list[Song], out: Store, tmp_path: Path):
    everything = [*songs, *added_songs(tmp_path, "new")]
    with pytest.raises(ValueError, match=r"9 songs added to 20, .*append=true"):
        shard_here(everything, out)
    shard_here(everything, out, append=True)
    once = contents(out.uri)
    shard_here(everything, out, append=True)
    shard_here(everything[::-1], out)
    assert contents(out.uri) == once
    assert read_plan(out).generation.max() == 1


def test_a_killed_addition_ends_with_the_same_bytes(songs: list[Song], out: Store, tmp_path: Path):
    everything = [*songs, *added_songs(tmp_path, "new")]
    disturbed = Store(str(tmp_path / "disturbed"))
    shutil.copytree(out.uri, disturbed.uri)
    shard_here(everything, out, append=True)
    plan = fix_plan(everything, VOCABULARY, SETTINGS, disturbed, append=True)  # the plan is there, no shard of it is
    assert plan.generation.max() == 1
    shard_here(everything, disturbed)
    assert contents(disturbed.uri) == contents(out.uri)


def test_a_third_generation_and_official_splits(tmp_path: Path):
    official = [
        Song(f"s{i:02d}", "", f"a{i % 7}", {"rock": 1.0, "energy": 0.5}, ("train", "validation", "test")[i % 3])
        for i in range(30)
    ]
    plan = make_plan(official[:12], VOCABULARY, replace(SETTINGS, songs_per_shard=3))
    grown = extend_plan(extend_plan(plan, official[12:20]), official[20:])
    assert HELD_OUT not in grown.split  # official splits are kept, whoever the artist is
    assert {song.key: split for song, split in zip(grown.songs, grown.split, strict=True)} == {
        song.key: song.split for song in official
    }
    for split in ("train", "validation", "test"):
        order = [o for o, s in zip(grown.order.tolist(), grown.split, strict=True) if s == split]
        assert order == list(range(10))
    names = [name for name, *_ in grown.shards()]
    assert names[:2] == ["shards/train-000000.tar", "shards/train-000001.tar"]
    assert {"shards/train-g001-000000.tar", "shards/test-g002-000000.tar"} <= set(names)
    assert [grown.digest(rows) for name, _, rows in grown.shards() if "-g" not in name] == [
        plan.digest(rows) for *_, rows in plan.shards()
    ]
    with pytest.raises(ValueError, match="the added song new has no official split"):
        extend_plan(plan, [Song("new", "", "", {"energy": 0.1})])
    with pytest.raises(ValueError, match="listed twice"):
        extend_plan(plan, [official[20], official[20]])


def test_a_song_taken_down_is_gone_and_nothing_else_is_touched(songs: list[Song], out: Store):
    before, files = read_manifest(out.uri), contents(out.uri)
    gone = keys(before, "train")[1]
    shard = before.shard_name(before.songs["shard"][int(before.select("train")[1])].as_py())
    done = take_down(out, [gone], "withdrawn")
    after = read_manifest(out.uri)
    assert (done.removed, done.shards) == ([gone], [shard])
    assert keys(after, "train") == [key for key in keys(before, "train") if key != gone]
    assert after.version not in (before.version, "")
    assert is_sound(after)
    changed = {name for name, data in contents(out.uri).items() if name.startswith("shards/") and files[name] != data}
    assert changed == {shard, index_path(shard)}
    assert all(gone.encode() not in data for name, data in contents(out.uri).items() if name.endswith(".tar"))
    assert after.index(after.shards["name"].to_pylist().index(shard)).quarantined[gone] == "taken down: withdrawn"


def test_a_page_with_clips_of_a_song_goes_with_the_song_and_not_for_a_song_without_audio(songs: list[Song], out: Store):
    first, second = keys(read_manifest(out.uri), "train")[:2]
    assert not take_down(out, [first], "withdrawn").page_deleted
    out.write_bytes(PAGE_PATH, b"a page with clips")
    assert not take_down(out, [first], "withdrawn").page_deleted  # it has gone before the page was made
    assert out.exists(PAGE_PATH)
    ended = run("take_down", f"corpus={out.uri}", f"songs=[{second}]", "reason=withdrawn")
    assert ended.returncode == 0, ended.stderr
    assert "describe.html deleted" in ended.stdout
    assert f"describe_corpus.py corpus={out.uri}" in ended.stdout
    assert not out.exists(PAGE_PATH)


def test_sharding_again_neither_brings_it_back_nor_changes_a_byte(songs: list[Song], out: Store):
    gone = keys(read_manifest(out.uri), "train")[1]
    take_down(out, [gone], "withdrawn")
    after = contents(out.uri)
    result = shard_here(songs, out)
    assert [(song.key, song.reason) for song in result.quarantined] == [(gone, "taken down: withdrawn")]
    assert contents(out.uri) == after
    shard_here([song for song in songs if song.key != gone], out)  # nor need it be listed any more
    assert contents(out.uri) == after
    for path in Path(out.uri, "shards").glob("train-*"):  # a disk is lost
        path.unlink()
    shard_here(songs, out)
    assert contents(out.uri) == after


def test_a_killed_takedown_is_finished_by_the_same_call(
    songs: list[Song], out: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    manifest = read_manifest(out.uri)
    gone = [keys(manifest, "train")[i] for i in (0, 9)]
    copies = [Store(str(tmp_path / f"copy{i}")) for i in range(3)]
    for copy in copies:
        shutil.copytree(out.uri, copy.uri)
    take_down(out, gone, "withdrawn")
    whole = contents(out.uri)
    for copy, dies_at in zip(copies, (index_path(manifest.shard_name(0)), MANIFEST_PATH, QUARANTINE_PATH), strict=True):
        with monkeypatch.context() as patch:
            name = "write_if" if dies_at == MANIFEST_PATH else "write_bytes"
            whole_write = getattr(Store, name)

            def dying(store: Store, path: str, *what: Any, end: str = dies_at, write: Any = whole_write) -> Any:
                if path.endswith(end):
                    raise KeyboardInterrupt
                return write(store, path, *what)

            patch.setattr(Store, name, dying)
            with pytest.raises(KeyboardInterrupt):
                take_down(copy, gone, "withdrawn")
        assert contents(copy.uri) != whole
        take_down(copy, gone, "withdrawn")
        assert contents(copy.uri) == whole


def test_a_takedown_of_an_unknown_song_or_out_of_a_damaged_shard_changes_nothing(out: Store):
    manifest, before = read_manifest(out.uri), contents(out.uri)
    with pytest.raises(ValueError, match=r"has no song nobody"):
        take_down(out, ["nobody"], "withdrawn")
    assert contents(out.uri) == before
    first, second = keys(manifest, "train")[:2]
    row = int(manifest.select("train")[1])
    path = Path(out.uri, manifest.shard_name(0))
    data = bytearray(path.read_bytes())
    data[manifest.songs["offset"][row].as_py() + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"train-000000.tar is damaged in song {second}; .*verify_corpus"):
        take_down(out, [first], "withdrawn")
    assert path.read_bytes() == data
    other = keys(manifest, "train")[-1]  # of another shard, which is intact
    damaged = contents(out.uri)
    with pytest.raises(ValueError, match="damaged in song"):
        take_down(out, [other, first], "withdrawn")
    assert contents(out.uri) == damaged
    assert read_takedowns(out) == {}


def test_the_last_song_of_a_tag_is_taken_down_and_listed_no_more(songs: list[Song], tmp_path: Path):
    out = Store(str(tmp_path / "tags"))
    vocabulary = Vocabulary((Tag("jazz"), Tag("polka"), Tag("rock"), Tag("energy", "regress")))
    rare = replace(songs[3], labels={"polka": 1.0, "energy": 0.5})
    rest = [song for song in songs if song.key != rare.key]
    plan = fix_plan([*rest, rare], vocabulary, SETTINGS, out)
    out.write_bytes(takedowns.TAKEDOWNS_PATH, table_bytes(pa.table({"key": [rare.key], "reason": ["withdrawn"]})))
    fewer = Vocabulary(tuple(tag for tag in vocabulary.tags if tag.name != "polka"))
    again = fix_plan(rest, fewer, SETTINGS, out)
    assert again.vocabulary == vocabulary
    assert [again.digest(rows) for *_, rows in again.shards()] == [plan.digest(rows) for *_, rows in plan.shards()]
    grown = fix_plan([*rest, *added_songs(tmp_path, "new")], fewer, SETTINGS, out, append=True)
    assert len(grown.songs) == NUM_SONGS + 9
    new = replace(added_songs(tmp_path, "new")[0], labels={"ska": 1.0, "energy": 0.5})
    with pytest.raises(ValueError, match=r"removed: \['polka'\]; new: \['ska'\], the first in s20"):
        fix_plan([*rest, new], Vocabulary((*fewer.tags, Tag("ska"))), SETTINGS, out, append=True)


def test_a_corpus_of_one_tag_each_says_so_when_a_song_has_two(songs: list[Song], tmp_path: Path):
    out, one = Store(str(tmp_path / "one")), Vocabulary.of_classes(["jazz", "rock"], exclusive=True)
    songs = [replace(song, labels={("rock", "jazz")[i % 2]: 1.0}) for i, song in enumerate(songs)]
    fix_plan(songs, one, SETTINGS, out)
    with pytest.raises(ValueError, match="every song had exactly one tag, and now not all have"):
        fix_plan(songs, replace(one, exclusive=False), SETTINGS, out)


def test_songs_that_no_shard_holds_are_taken_down_too(songs: list[Song], out: Store, tmp_path: Path):
    Path(songs[2].path).write_bytes(b"")
    shutil.rmtree(out.uri)
    added = added_songs(tmp_path, held_out_artist(shard_here(songs, out).manifest))
    fix_plan([*songs, *added], VOCABULARY, SETTINGS, out, append=True)  # stopped before a shard of it was written
    gone = [songs[2].key, added[0].key, added[1].key]  # quarantined, held out, not yet in a shard
    assert take_down(out, gone, "withdrawn").removed == []
    taken = {song.key: song.reason for song in read_quarantine(out)}
    assert taken == dict.fromkeys(gone, "taken down: withdrawn")
    left = [song for song in (*songs, *added) if song.key not in gone]
    result = shard_here(left, out)
    assert result.held_out == 0
    assert {song.key: song.reason for song in read_quarantine(out)} == taken
    assert set(result.manifest.songs["key"].to_pylist()) == {song.key for song in left}
    assert is_sound(read_manifest(out.uri))
    (line,) = inspect(result.manifest, gone[0])
    assert line == f"song {gone[0]} is in quarantine: taken down: withdrawn"


def test_a_takedown_while_the_job_runs_is_not_overlooked(
    songs: list[Song], out: Store, monkeypatch: pytest.MonkeyPatch
):
    answers = iter([{}, {"s03": "taken down: withdrawn"}])
    monkeypatch.setattr(shard_job, "read_takedowns", lambda _: next(answers))
    plan = fix_plan(songs, VOCABULARY, SETTINGS, out)
    with pytest.raises(RuntimeError, match="taken down while the job ran; run it again"):
        shard_job.write_corpus(plan, out)


def test_a_shard_made_again_keeps_the_songs_whose_files_are_gone(songs: list[Song], out: Store):
    plan = fix_plan(songs, VOCABULARY, SETTINGS, out)
    task = shard_job.shard_tasks(plan, out, {})[0]
    before = contents(out.uri)
    broken, gone, *_ = task.songs
    whole = Path(broken.path).read_bytes()
    Path(broken.path).write_bytes(b"")
    Path(out.uri, task.name).unlink()  # without its tar everything is decoded
    assert write_shard(task).quarantined == {broken.key: "the file is empty (0 bytes)"}
    Path(broken.path).write_bytes(whole)
    Path(gone.path).unlink()
    assert write_shard(task).quarantined == {}
    assert contents(out.uri) == before
    flip(Path(out.uri, task.name), read_manifest(out.uri).songs["offset"][1].as_py())
    assert write_shard(task).quarantined == {gone.key: "the file does not exist"}  # damaged audio is not kept


def test_retrying_leaves_shards_alone_that_lack_only_songs_taken_down(songs: list[Song], out: Store):
    take_down(out, [keys(read_manifest(out.uri), "train")[0]], "withdrawn")
    plan = fix_plan(songs, VOCABULARY, SETTINGS, out)
    assert shard_job.write_corpus(plan, out, retry_quarantined=True).written == 0  # no Ray was asked


def test_a_lost_index_is_rebuilt_after_an_addition_and_a_takedown(songs: list[Song], out: Store, tmp_path: Path):
    shard_here([*songs, *added_songs(tmp_path, "new")], out, append=True)
    take_down(out, [f"s{NUM_SONGS + 3}"], "withdrawn")
    shard_here([*songs, *added_songs(tmp_path, "new")], out)  # writes the quarantine
    manifest = read_manifest(out.uri)
    for shard, name in enumerate(manifest.shards["name"].to_pylist()):
        index = Path(out.uri, index_path(name))
        before = index.read_bytes()
        index.unlink()
        rebuild_index(out, manifest, shard, planned_shards(manifest)[name])
        assert index.read_bytes() == before


def test_the_same_audio_in_two_splits_is_used_in_the_one_that_judges(songs: list[Song], tmp_path: Path):
    splits = ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    songs = [replace(song, split=split) for song, split in zip(songs, splits, strict=True)]
    for copy, source in ((2, 16), (3, 12), (13, 17), (4, 5)):  # the last pair lies within one split
        shutil.copy(songs[source].path, songs[copy].path)
    result = shard_here(songs, Store(str(tmp_path / "twice")))
    manifest = read_manifest(result.manifest.uri)
    excluded = dict(zip(manifest.songs["key"].to_pylist(), manifest.songs["excluded"].to_pylist(), strict=True))
    assert {key: reason for key, reason in excluded.items() if reason} == {
        "s02": "the same audio as s16 in test",
        "s03": "the same audio as s12 in validation",
        "s13": "the same audio as s17 in test",
    }
    assert not {"s02", "s03"} & set(keys(manifest, "train"))
    assert (len(keys(manifest, "train")), len(keys(manifest, "validation")), len(keys(manifest, "test"))) == (10, 3, 4)
    assert "3 songs excluded, because another split holds the same audio" in describe_text(manifest)
    assert len(find_duplicates(manifest)) == 4
    assert is_sound(manifest)
    take_down(Store(manifest.uri), ["s16"], "withdrawn")
    assert "s02" in keys(read_manifest(manifest.uri), "train")  # its double is gone


def test_shards_of_about_the_wanted_size_are_planned_where_nothing_is_said(tmp_path: Path):
    songs = [make_song(tmp_path, i) for i in range(NUM_SONGS)]
    Path(songs[0].path).write_bytes(b"not music")
    out = Store(str(tmp_path / "sized"))
    settings = ShardSettings(val_fraction=0.2, test_fraction=0.0)
    plan = fix_plan(songs, VOCABULARY, settings, out)
    mean_s = np.mean([1 + 1700 * i / 16_000 for i in range(2, NUM_SONGS, 2)])  # the sampled songs but the broken one
    assert plan.settings.songs_per_shard == round(256e6 / (32_000 * mean_s))
    for song in songs:
        Path(song.path).unlink()  # what was decided is not decided anew
    assert fix_plan(songs, VOCABULARY, settings, out).settings == plan.settings
    assert read_takedowns(out) == {}
    assert takedowns.TAKEDOWNS_PATH not in out.list()


def test_an_exclusion_that_is_missing_or_without_a_reason_is_found(out: Store):
    manifest = read_manifest(out.uri)
    wrong = ["the same audio as s01 in test", *[""] * (len(manifest) - 1)]
    place = manifest.songs.column_names.index("excluded")
    (found,) = verify_exclusions(replace(manifest, songs=manifest.songs.set_column(place, "excluded", [wrong])))
    assert "is excluded (the same audio as s01 in test); by its audio it is not excluded" in str(found)


def test_a_corpus_of_an_earlier_version_is_refused_with_the_remedy(out: Store):
    path = next(path for path in out.list("manifest") if path.endswith("songs.parquet"))
    table = pq.read_table(io.BytesIO(out.read_bytes(path))).drop_columns(["excluded"])
    pq.write_table(table, out.local_path(path))
    summary = json.loads(out.read_bytes(MANIFEST_PATH))
    summary["tables"][path] = hashlib.sha256(out.read_bytes(path)).hexdigest()
    out.write_bytes(MANIFEST_PATH, json.dumps(summary).encode())
    with pytest.raises(ValueError, match=r"earlier version .*no excluded.*shard_corpus.py again into an empty folder"):
        read_manifest(out.uri)


def test_a_lost_index_comes_back_though_the_songs_are_gone(songs: list[Song], out: Store):
    before = contents(out.uri)
    manifest = read_manifest(out.uri)
    Path(out.uri, index_path(manifest.shard_name(0))).unlink()
    for song in songs:
        Path(song.path).unlink()
    write_corpus(fix_plan(songs, VOCABULARY, SETTINGS, out), out)
    assert contents(out.uri) == before


def test_songs_that_are_in_no_table_of_the_corpus_are_found(songs: list[Song], out: Store, tmp_path: Path):
    fix_plan([*songs, *added_songs(tmp_path, "new")], VOCABULARY, SETTINGS, out, append=True)
    (found,) = verify_manifest(read_manifest(out.uri))
    assert "9 planned songs are neither in it nor in quarantine, the first is s2" in str(found)
    Path(out.uri, QUARANTINE_PATH).unlink()
    assert "quarantine.parquet: missing" in map(str, verify_manifest(read_manifest(out.uri)))


def test_an_addition_that_fails_does_not_hide_in_a_large_corpus(tmp_path: Path):
    songs = [Song(f"s{i:04d}", f"/gone/{i}.mp3", "", {"rock": 1.0, "energy": 0.0}) for i in range(1020)]
    settings = replace(SETTINGS, max_failure_rate=0.05)
    plan = extend_plan(make_plan(songs[:1000], VOCABULARY, settings), songs[1000:])
    budget = Budget(plan, {"s1000": "taken down"})
    lost = {song.key: "the file does not exist" for song in songs[1000:]}
    budget.check(dict(list(lost.items())[:4]))  # one of them was taken down
    with pytest.raises(FailureBudgetError, match=r"19 of 20 added songs failed, more than the 3 that"):
        budget.check(lost)
    budget.check({song.key: "" for song in songs[:50]})
    with pytest.raises(FailureBudgetError, match=r"51 of 1000 songs failed, more than the 50 that"):
        budget.check({song.key: "" for song in songs[:51]})


def test_adding_to_nothing_is_refused(songs: list[Song], tmp_path: Path):
    with pytest.raises(ValueError, match="nothing holds no corpus to add songs to"):
        fix_plan(songs, VOCABULARY, SETTINGS, Store(str(tmp_path / "nothing")), append=True)
