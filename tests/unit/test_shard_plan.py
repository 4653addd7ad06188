"""The plan of a corpus is fixed by its songs and settings, and a begun one is not continued with another."""

from dataclasses import replace
from pathlib import Path

import pytest

from genrescale.audio import Song, Tag, Vocabulary
from genrescale.config.corpus import ShardSettings
from genrescale.data.sharding.plan import make_plan
from genrescale.data.sharding.plan_file import fix_plan
from genrescale.storage.store import Store

VOCABULARY = Vocabulary((Tag("rock"), Tag("jazz")), exclusive=True)


def many_songs(count: int) -> list[Song]:
    return [
        Song(f"s{i:03d}", f"/music/{i}.mp3", f"artist{i // 2}", {("rock", "jazz")[i % 2]: 1.0}) for i in range(count)
    ]


def test_the_plan_holds_every_song_once_in_shards_of_nested_order():
    plan = make_plan(many_songs(100), VOCABULARY, ShardSettings(songs_per_shard=16))
    assert sorted(song.key for song in plan.songs) == [f"s{i:03d}" for i in range(100)]
    shards = plan.shards()
    assert [name for name, _, _ in shards[:5]] == [f"shards/train-{i:06d}.tar" for i in range(5)]
    assert sum(rows.stop - rows.start for _, _, rows in shards) == 100
    for _, split, rows in shards:
        assert set(plan.split[rows]) == {split}
        assert plan.order[rows].tolist() == list(
            range(plan.order[rows.start], plan.order[rows.start] + rows.stop - rows.start)
        )


def test_the_plan_does_not_depend_on_how_songs_were_listed_or_where_they_lie():
    songs, settings = many_songs(60), ShardSettings(songs_per_shard=16)
    moved = [replace(song, path=f"/elsewhere/{song.key}.mp3") for song in reversed(songs)]
    plan, other = make_plan(songs, VOCABULARY, settings), make_plan(moved, VOCABULARY, settings)
    assert [s.key for s in plan.songs] == [s.key for s in other.songs]
    assert [plan.digest(rows) for *_, rows in plan.shards()] == [other.digest(rows) for *_, rows in other.shards()]


def test_songs_listed_twice_and_wrong_labels_are_named():
    songs = many_songs(20)
    with pytest.raises(ValueError, match=r"listed twice, the first is /music/0.mp3"):
        make_plan([*songs, songs[0]], VOCABULARY, ShardSettings())
    with pytest.raises(ValueError, match=r"/music/3.mp3: labels .'polka'. are not in the vocabulary"):
        make_plan([*songs[:3], replace(songs[3], labels={"polka": 1.0})], VOCABULARY, ShardSettings())
    with pytest.raises(ValueError, match="no songs"):
        make_plan([], VOCABULARY, ShardSettings())


def changed(case: str) -> tuple[list[Song], Vocabulary, ShardSettings]:
    songs, settings = many_songs(40), ShardSettings(songs_per_shard=8)
    if case == "settings":
        return songs, VOCABULARY, replace(settings, seed=7)
    if case == "added":
        return [*songs, Song("new", "/new.mp3", "", {"rock": 1.0})], VOCABULARY, settings
    if case == "removed":
        return songs[1:], VOCABULARY, settings
    if case == "labels":
        return [replace(songs[0], labels={"jazz": 1.0}), *songs[1:]], VOCABULARY, settings
    if case == "artist":
        return [replace(songs[0], artist="other"), *songs[1:]], VOCABULARY, settings
    return songs, Vocabulary((*VOCABULARY.tags, Tag("polka")), exclusive=True), settings


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("settings", "seed was 0 and is 7"),
        ("added", "1 songs added to 40, the first is new"),
        ("removed", "1 of 40 songs no longer listed, the first is s000"),
        ("labels", "1 songs have another labels, the first is s000"),
        ("artist", "1 songs have another artist, the first is s000"),
        ("vocabulary", "new: .'polka'."),
    ],
)
def test_a_begun_plan_is_not_continued_with_another(tmp_path: Path, case: str, words: str):
    out = Store(str(tmp_path))
    begun = fix_plan(many_songs(40), VOCABULARY, ShardSettings(songs_per_shard=8), out)
    kept = fix_plan(many_songs(40)[::-1], VOCABULARY, ShardSettings(songs_per_shard=8, max_failure_rate=0.5), out)
    assert [s.key for s in kept.songs] == [s.key for s in begun.songs]
    with pytest.raises(ValueError, match=f"begun with another plan: .*{words}.*start over"):
        fix_plan(*changed(case), out)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"val_fraction": 1.5}, "val_fraction=1.5"),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "leave no song to train on"),
        ({"songs_per_shard": -1}, "songs_per_shard=-1"),
        ({"seed": -1}, "seed=-1"),
        ({"min_s": float("nan")}, "min_s=nan"),
        ({"max_s": 0.5, "min_s": 1.0}, "max_s=0.5"),
        ({"max_failure_rate": -0.1}, "max_failure_rate=-0.1"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, float], words: str):
    with pytest.raises(ValueError, match=words):
        ShardSettings(**values)  # pyright: ignore[reportArgumentType]
