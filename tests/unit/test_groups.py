"""Songs of one group are never divided between splits, and what looks like a group is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.small_corpus import make_song, shard_here

from genrescale.audio import Song, Vocabulary
from genrescale.config.corpus import ShardSettings, TableColumns
from genrescale.data.corpora import list_corpus, list_songs
from genrescale.data.sharding.plan import HELD_OUT, ShardPlan, extend_plan, make_plan
from genrescale.data.sharding.plan_file import fix_plan
from genrescale.data.sharding.related import related_lines
from genrescale.storage.store import Store

VOCABULARY = Vocabulary.of_classes(["jazz", "rock"], exclusive=True)
SETTINGS = ShardSettings(val_fraction=0.2, test_fraction=0.2, songs_per_shard=4)


def clips(tracks: int, parts: int, **facts: str) -> list[Song]:
    """Clips of tracks, ``m/track 3_1.wav`` and so on; ``group`` may name their track as {track}."""
    return [
        Song(
            f"k{track}-{part}",
            f"m/{'abcdefghijklmnopqrstuvwxyz'[track]} song_{part}.wav",
            facts.get("artist", "").format(track=track),
            {("jazz", "rock")[track % 2]: 1.0},
            group=facts.get("group", "").format(track=track),
        )
        for track in range(tracks)
        for part in range(parts)
    ]


def plan_of(songs: Sequence[Song]) -> ShardPlan:
    return make_plan(songs, VOCABULARY, SETTINGS)


def homes(plan: ShardPlan, of: str) -> list[int]:
    """In how many splits each group, or artist, is."""
    splits: dict[str, set[str]] = {}
    for song, split in zip(plan.songs, plan.split, strict=True):
        splits.setdefault(getattr(song, of), set()).add(split)
    return [len(home) for home in splits.values()]


def test_a_group_is_never_divided():
    plan = plan_of(clips(20, 5, group="t{track}"))
    assert homes(plan, "group") == [1] * 20
    assert max(homes(plan_of(clips(20, 5)), "artist")) == 3
    assert set(plan.split) == {"train", "validation", "test"}
    assert related_lines(plan) == []


def test_artists_that_share_a_group_stay_together_and_so_do_the_groups_of_an_artist():
    rng = np.random.default_rng(0)
    songs = [
        replace(song, artist=f"a{rng.integers(12)}" if i % 3 else "", group=f"G{rng.integers(25)}" if i % 4 else "")
        for i, song in enumerate(clips(24, 4))
    ]
    songs = [song for i, song in enumerate(songs) if song.artist or song.group or i % 5]
    spelled = [replace(song, group=song.group.swapcase() if i % 2 else song.group) for i, song in enumerate(songs)]
    lonely = [Song(f"l{i}", f"l{i}.wav", "", {"rock": 1.0}) for i in range(90)]
    plan = plan_of([*spelled, *lonely])
    names = {
        (name.casefold(), split)
        for s, split in zip(plan.songs, plan.split, strict=True)
        for name in {s.artist, s.group}
        if name
    }
    assert len({name for name, _ in names}) == len(names) > 20


@pytest.mark.parametrize(("artist", "digest"), [("", "d25af5df43e6a174"), ("x{track}", "78421c838ab02b70")])
def test_without_groups_every_plan_is_as_it_was(artist: str, digest: str):
    """The digests are those of version 0.2.0."""
    plan = plan_of(clips(20, 2, artist=artist))
    assert plan.digest(slice(0, 40))[:16] == digest


def test_an_added_song_of_a_group_in_test_is_held_out():
    plan = plan_of(clips(20, 5, group="t{track}"))
    tested = next(song.group for song, split in zip(plan.songs, plan.split, strict=True) if split == "test")
    trained = next(song.group for song, split in zip(plan.songs, plan.split, strict=True) if split == "train")
    added = [Song(f"new{g}", f"{g}.wav", "", {"rock": 1.0}, group=g.upper()) for g in (tested, trained, "other")]
    grown = extend_plan(plan, added)
    found = {song.key: split for song, split in zip(grown.songs, grown.split, strict=True)}
    assert [found[song.key] for song in added] == [HELD_OUT, "train", "train"]
    assert grown.divided_groups == []


def test_groups_that_come_after_the_splits_are_refused_where_these_divide_them(tmp_path: Path):
    out = Store(str(tmp_path))
    fix_plan(clips(20, 5), VOCABULARY, SETTINGS, out)
    with pytest.raises(ValueError, match=r"was begun without groups, and \d+ are in more than one split, the first is"):
        fix_plan(clips(20, 5, group="t{track}"), VOCABULARY, SETTINGS, out)
    assert fix_plan(clips(20, 5), VOCABULARY, SETTINGS, out).divided_groups == []


def test_groups_do_not_change_the_file_of_a_plan(tmp_path: Path):
    songs = [make_song(tmp_path, i) for i in range(12)]
    plain, grouped = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    shard_here(songs, plain)
    shard_here([replace(song, group=song.artist) for song in songs], grouped)
    assert plain.read_bytes("plan.parquet") == grouped.read_bytes("plan.parquet")


ROWS = [{"artist": f"A{i}", "group": f" T\u00a0{i // 2} "} for i in range(4)]


def grouped(songs: Sequence[Song]) -> list[tuple[str, str]]:
    return [(song.artist, song.group) for song in songs]


EXPECTED = [("A0", "T 0"), ("A1", "T 0"), ("A2", "T 1"), ("A3", "T 1")]


@pytest.mark.parametrize("renamed", [False, True])
def test_every_corpus_that_reads_tables_reads_groups(tmp_path: Path, renamed: bool):
    columns = TableColumns(group="album", artist="who") if renamed else TableColumns()
    rows = [
        {("album" if renamed else "group"): r["group"], ("who" if renamed else "artist"): r["artist"]} for r in ROWS
    ]
    options = {"columns": columns.renamed()} if renamed else {}

    def jsonl(name: str, **others: str) -> str:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        lines = [row | {key: value.format(i=i) for key, value in others.items()} for i, row in enumerate(rows)]
        (tmp_path / name).write_text("\n".join(map(json.dumps, lines)))
        return str(tmp_path / name)

    songs = list_corpus("table", jsonl("t.jsonl", path="{i}.mp3", labels="rock"), **options).songs
    assert grouped(songs) == EXPECTED
    jsonl("folder/metadata.jsonl", file_name="{i}.mp3", label="rock")
    assert grouped(list_corpus("audiofolder", str(tmp_path / "folder"), **options).songs) == EXPECTED
    msd = jsonl("msd.jsonl", track_id="TRAAAAA{i}28F9318786", tags="rock")
    (tmp_path / "msd.jsonl").write_text((tmp_path / "msd.jsonl").read_text().replace("TRAAAAA", "TRAAAAA0"))
    (tmp_path / "msd.jsonl").write_text((tmp_path / "msd.jsonl").read_text().replace("8786", "878"))
    assert grouped(list_songs("msd", str(tmp_path), tables=msd, **options)[0]) == EXPECTED
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub/0.mp3").write_bytes(b"")
    table = pa.Table.from_pylist([row | {"file_name": f"{i}.mp3", "genre": "rock"} for i, row in enumerate(rows)])
    pq.write_table(table, tmp_path / "hub/train.parquet")
    assert grouped(list_songs("fma_hf", str(tmp_path / "hub"), **options)[0]) == EXPECTED


def test_a_column_that_is_not_there_is_named_and_one_may_be_left_out(tmp_path: Path):
    (tmp_path / "s.csv").write_text("path,labels,group\na.wav,rock,x\n")
    with pytest.raises(ValueError, match=r"has no column 'album' for group; it has \['group', 'labels', 'path'\]"):
        list_corpus("table", str(tmp_path / "s.csv"), columns={"group": "album"})
    assert list_corpus("table", str(tmp_path / "s.csv"), columns={"group": ""}).songs[0].group == ""
    (tmp_path / "rock").mkdir()
    (tmp_path / "rock/a.mp3").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"holds none of .*, which columns="):
        list_corpus("audiofolder", str(tmp_path), columns={"group": "album"})


def test_clips_that_look_related_are_counted():
    plan = plan_of(clips(20, 5))
    [line] = related_lines(plan)
    divided = sum(count > 1 for count in homes_by_title(plan).values())
    assert line.startswith(
        f"{divided} of 20 tracks with several clips, by their files' names, are in more than one split"
    )
    assert "columns.group=..." in line
    official = [replace(song, split=split) for song, split in zip(plan.songs, plan.split, strict=True)]
    assert related_lines(plan_of(official)) == [line]


def homes_by_title(plan: ShardPlan) -> dict[str, int]:
    splits: dict[str, set[str]] = {}
    for song, split in zip(plan.songs, plan.split, strict=True):
        splits.setdefault(song.path[:3], set()).add(split)
    return {title: len(home) for title, home in splits.items()}


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("rock/album {track}/{name}.mp3", "folders of a few songs each"),
        ("rock/{title}({part}).mp3", "tracks with several clips"),
        ("rock/{title} - clip {part}.mp3", "tracks with several clips"),
        ("rock/{title}.part{part}.mp3", "tracks with several clips"),
        ("rock/song_{number}.mp3", ""),
        ("rock/{number} {title}.mp3", ""),
        ("rock/{name}.mp3", ""),
    ],
)
def test_names_that_mean_something_and_names_that_do_not(path: str, told: str):
    songs = []
    for i in range(60):
        track, part = divmod(i, 3)
        title = "abcdefghijklmnopqrstuvwxyz"[track] * 4
        name = path.format(track=track, part=part, title=title, number=i, name=title + "xyz"[part])
        songs.append(Song(f"k{i:02}", name, "", {"rock": 1.0}))
    lines = related_lines(make_plan(songs, Vocabulary.of_classes(["rock"]), SETTINGS))
    assert [told in line for line in lines] == ([True] if told else [])


def test_groups_in_several_official_splits_are_counted():
    songs = [
        replace(song, split=("train", "validation", "test")[i % 3])
        for i, song in enumerate(clips(4, 3, group="t{track}"))
    ]
    assert related_lines(plan_of(songs)) == ["4 groups are in more than one of the official splits, the first is 't0'"]
