"""Several corpora are trained on as one: mapped labels, no leak, nested sizes, weights, and their own shards' audio."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.small_corpus import VOCABULARY, make_song, shard_here

from genrescale.audio import Tag, Vocabulary
from genrescale.config import ContrastConfig, DataConfig, RunConfig
from genrescale.config.corpus import ShardSettings
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.reading.crops import read_crops
from genrescale.data.upkeep.mix import mix_corpora, refuse_mix
from genrescale.data.upkeep.take_down import take_down
from genrescale.storage.store import Store
from genrescale.training.checks import check_data
from genrescale.training.select import select_data

SPLIT = ShardSettings(val_fraction=0.2, test_fraction=0.2, songs_per_shard=4, min_s=0.5)


def corpus_of(folder: Path, numbers: range) -> Manifest:
    """Songs of an artist each."""
    folder.mkdir()
    songs = [make_song(folder, i) for i in numbers]
    return read_manifest(shard_here(songs, Store(str(folder / "out")), settings=SPLIT).manifest.uri)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return corpus_of(tmp_path_factory.mktemp("mix") / "real", range(20))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return corpus_of(tmp_path_factory.mktemp("mix") / "other", range(30, 70))


@pytest.fixture(scope="module")
def mixed(real: Manifest, other: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return mix_corpora([real, other], Store(str(tmp_path_factory.mktemp("mix") / "mix")))[0]


def run_on(mixed: Manifest, size: int, weights: list[float] | None = None) -> RunConfig:
    sampler = "mixture" if weights else "uniform"
    return RunConfig(data=DataConfig(size=size, crop_s=1.0, batch=8, group=4, sampler=sampler, weights=weights or []))


def test_validation_songs_are_the_first_corpus_alone(real: Manifest, mixed: Manifest):
    assert mixed.part_N()[mixed.select("validation")].tolist() == [0] * len(real.select("validation"))
    assert mixed.songs["key"].take(mixed.select("validation")).equals(real.songs["key"].take(real.select("validation")))


def test_every_prefix_has_its_part_of_every_corpus(mixed: Manifest):
    part_N = mixed.part_N()[mixed.select("train")]
    whole = np.bincount(part_N) / len(part_N)
    for size in range(4, len(part_N)):
        np.testing.assert_allclose(np.bincount(part_N[:size], minlength=2), size * whole, atol=1)


def test_crops_of_a_mix_are_the_songs_of_its_corpora(mixed: Manifest, tmp_path: Path):
    table = select_data(run_on(mixed, len(mixed.select("train"))), mixed).source().tables["train"]
    wave_nT = read_crops(table, np.arange(len(table)), np.zeros(len(table), np.int64), 8_000)
    corpora = [read_manifest(part["uri"]) for part in mixed.settings["parts"]]
    for key, part, clip_T in zip(table.keys.to_pylist(), table.part_N, wave_nT, strict=True):
        source = corpora[part]
        row = source.songs["key"].to_pylist().index(key)
        song = source.songs.slice(row, 1).to_pylist()[0]
        shard = Path(source.uri, source.shard_name(song["shard"])).read_bytes()
        assert clip_T.tobytes() == shard[song["offset"] : song["offset"] + 16_000]


def test_weights_decide_whatever_the_sizes(mixed: Manifest):
    size = len(mixed.select("train"))
    plan = select_data(run_on(mixed, size, [3.0, 1.0]), mixed).plan.train
    part_N = mixed.part_N()[mixed.select("train")]
    epoch = [
        plan.crops(step, group).songs_n
        for step in range(plan.steps_per_epoch)
        for group in range(plan.num_groups(step))
    ]
    found = np.bincount(part_N[np.concatenate(epoch)])
    np.testing.assert_allclose(found, [0.75 * size, 0.25 * size], atol=1)


def test_weights_for_another_number_of_corpora_are_refused(mixed: Manifest):
    with pytest.raises(ValueError, match=r"got weights \[3.0, 1.0, 1.0\] for corpora of"):
        select_data(run_on(mixed, 20, [3.0, 1.0, 1.0]), mixed)
    with pytest.raises(ValueError, match="sampler=mixture needs weights"):
        DataConfig(weights=[1.0])
    with pytest.raises(ValueError, match="sampler=mixture needs weights"):
        DataConfig(sampler="mixture")


def test_labels_are_matched_by_name(real: Manifest, tmp_path: Path):
    """Another corpus with a tag more, one less, in another order."""
    vocabulary = Vocabulary((Tag("polka"), Tag("jazz"), Tag("rock")))
    (tmp_path / "other").mkdir()
    songs = [
        replace(make_song(tmp_path / "other", i), labels={"polka": 1.0} if i < 40 else {"rock": 1.0, "polka": 1.0})
        for i in range(30, 50)
    ]
    other = shard_here(songs, Store(str(tmp_path / "other/out")), settings=SPLIT, vocabulary=vocabulary).manifest
    mixed, (left_out,) = mix_corpora([real, other], Store(str(tmp_path / "mix")))
    assert mixed.vocabulary == VOCABULARY
    labels_NK = mixed.labels_NK[mixed.part_N() == 1]
    assert {tuple(row) for row in labels_NK.tolist()} == {(1.0, 0.0, 0.0)}
    assert left_out.tags == ["polka"]
    assert left_out.songs["none of their tags is one of the mix"] > 0
    assert len(labels_NK) + sum(left_out.songs.values()) == len(other.select("train"))


def test_a_song_that_the_first_corpus_has_is_left_out(real: Manifest, tmp_path: Path):
    """The same audio under another name would train on what is tested."""
    other = corpus_of(tmp_path / "other", range(10, 40))
    mixed, (left_out,) = mix_corpora([real, other], Store(str(tmp_path / "mix")))
    ours = set(zip(*(real.column(name).tolist() for name in ("crc32", "num_samples")), strict=True))
    train = other.select("train")
    theirs = list(zip(*(other.column(name)[train].tolist() for name in ("crc32", "num_samples")), strict=True))
    assert left_out.songs["the mix has their audio"] == sum(audio in ours for audio in theirs) > 0
    audio = list(zip(*(mixed.column(name).tolist() for name in ("crc32", "num_samples")), strict=True))
    assert len(set(audio)) == len(audio)


def test_no_artist_is_trained_on_and_tested_on(real: Manifest, tmp_path: Path):
    """Whichever corpus the songs come from; names are compared without case."""
    tested = real.songs["artist"].take(real.select("test")).to_pylist()[0]
    (tmp_path / "other").mkdir()
    artists = [tested.upper() + " ", "somebody", "", tested]
    songs = [make_song(tmp_path / "other", i, artist=artists[i % 4]) for i in range(30, 60)]
    other = shard_here(songs, Store(str(tmp_path / "other" / "out")), settings=SPLIT).manifest
    mixed, (left_out,) = mix_corpora([real, other], Store(str(tmp_path / "mix")))
    added = mixed.songs["artist"].take(np.flatnonzero(mixed.part_N() == 1)).to_pylist()
    assert tested.casefold() not in {artist.strip().casefold() for artist in added}
    there = [name.strip().casefold() for name in other.songs["artist"].take(other.select("train")).to_pylist()]
    assert left_out.songs["an artist of that name is validated or tested on"] == there.count(tested.casefold())


def test_a_corpus_that_changed_after_it_was_mixed_is_noticed(real: Manifest, other: Manifest, tmp_path: Path):
    copy = read_manifest(str(shutil.copytree(other.uri, tmp_path / "other" / "out")))
    mixed, _ = mix_corpora([real, copy], Store(str(tmp_path / "mix")))
    row = int(np.flatnonzero(mixed.part_N() == 1)[0])
    take_down(Store(str(tmp_path / "other" / "out")), [mixed.songs["key"][row].as_py()], "licence")
    with pytest.raises(ValueError, match=r"has changed in its corpus since .*: mix again with jobs/mix_corpora\.py"):
        select_data(run_on(mixed, 20), mixed).source()


def test_contrastive_training_needs_real_and_other_songs_of_one_class_each(real: Manifest, tmp_path: Path):
    run = replace(run_on(real, 10), contrast=ContrastConfig(0.7))
    with pytest.raises(ValueError, match="needs an exclusive vocabulary"):
        check_data(run, select_data(run, real))
    corpora = []
    for name, numbers in (("first", range(20)), ("second", range(30, 60))):
        (tmp_path / name).mkdir()
        songs = [replace(make_song(tmp_path / name, i), labels={("rock", "jazz")[i % 2]: 1.0}) for i in numbers]
        vocabulary = Vocabulary((Tag("rock"), Tag("jazz")), exclusive=True)
        out = Store(str(tmp_path / name / "out"))
        corpora.append(shard_here(songs, out, settings=SPLIT, vocabulary=vocabulary).manifest)
    with pytest.raises(ValueError, match=r"has one corpus to train on; mix real songs with synthetic ones"):
        check_data(run, select_data(run, corpora[0]))
    mixed, _ = mix_corpora(corpora, Store(str(tmp_path / "mix")))
    check_data(run, data := select_data(run, mixed))
    part_N = data.source().tables["train"].part_N
    assert set(part_N.tolist()) == {0, 1}


def test_what_cannot_be_mixed_is_refused(real: Manifest, mixed: Manifest, tmp_path: Path):
    with pytest.raises(ValueError, match="at least 2 corpora, got 1"):
        mix_corpora([real], Store(str(tmp_path / "m")))
    with pytest.raises(ValueError, match="is a mix and has no shards of its own; mix its corpora: "):
        mix_corpora([real, mixed], Store(str(tmp_path / "m")))
    with pytest.raises(ValueError, match="is a corpus with shards of its own"):
        mix_corpora([real, real], Store(real.uri))
    with pytest.raises(ValueError, match=r"none of the .* train songs of .* can be mixed in"):
        mix_corpora([real, real], Store(str(tmp_path / "m")))
    with pytest.raises(ValueError, match=r"verify its corpora: .*real.*, .*other"):
        refuse_mix(mixed, "verify")


def test_a_song_of_several_tags_stays_out_of_a_mix_of_one_tag_a_song(tmp_path: Path):
    """Its two labels would be two right answers of a softmax."""
    manifests = []
    for name, numbers, exclusive in (("first", range(20), True), ("second", range(30, 60), False)):
        (tmp_path / name).mkdir()
        songs = [
            replace(
                make_song(tmp_path / name, i),
                labels={"rock": 1.0, "jazz": 1.0} if i % 3 == 0 and not exclusive else {("rock", "jazz")[i % 2]: 1.0},
            )
            for i in numbers
        ]
        vocabulary = Vocabulary((Tag("rock"), Tag("jazz")), exclusive=exclusive)
        out = Store(str(tmp_path / name / "out"))
        manifests.append(shard_here(songs, out, settings=SPLIT, vocabulary=vocabulary).manifest)
    mixed, (left_out,) = mix_corpora(manifests, Store(str(tmp_path / "mix")))
    assert set(mixed.labels_NK.sum(axis=1).tolist()) == {1.0}
    other = manifests[1]
    both = int((other.labels_NK[other.select("train")].sum(axis=1) == 2).sum())
    assert left_out.songs["they have several tags, and the mix one a song"] == both > 0


def test_a_corpus_that_is_no_mix_has_nothing_to_weigh(real: Manifest):
    with pytest.raises(ValueError, match=r"is one corpus; mix several with jobs/mix_corpora\.py"):
        select_data(run_on(real, 10, [3.0, 1.0]), real)


def test_which_corpus_a_song_came_from_is_part_of_a_run_that_weighs_corpora(mixed: Manifest):
    """The same songs, mixed of other corpora, are drawn otherwise."""
    parts = mixed.settings["parts"]
    moved = replace(mixed, settings={"parts": [parts[0], {**parts[1], "first_shard": parts[1]["first_shard"] + 1}]})
    for weights, same in ((None, True), ([3.0, 1.0], False)):
        run = run_on(mixed, len(mixed.select("train")), weights)
        assert (select_data(run, mixed).digest == select_data(run, moved).digest) is same
