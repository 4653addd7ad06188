"""Samplers are plans: what they draw follows their rule, is the same every time, and can be resumed anywhere."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers.traces import CROP, merged, plan_of, planned_rows, train_items
from scipy.stats import spearmanr

from genrescale.config import DataConfig, RunConfig
from genrescale.data.manifest import Manifest
from genrescale.data.reading.samplers import ClassAware, Mixture, Sampler, Uniform, Windows, rounds
from genrescale.training.select import select_data


def skewed_labels(num_songs: int = 600) -> np.ndarray:
    """Four classes of 400, 120, 60 and 12 songs, some songs in two of them, some in none; a fifth without any."""
    labels_NK = np.zeros((num_songs, 5), np.float32)
    for k, count in enumerate((400, 120, 60, 12)):
        labels_NK[np.random.default_rng(k).choice(num_songs, count, replace=False), k] = 1
    return labels_NK


LABELS = skewed_labels()
SAMPLERS: dict[str, Sampler] = {
    "uniform": Uniform(600),
    "class_aware": ClassAware.of(LABELS),
    "mixture": Mixture(np.repeat([0, 1, 2], [500, 60, 40]), (1.0, 2.0, 1.0)),
    "windows": Windows(np.arange(600) // 25, shards_per_window=3, group=4, groups_per_step=2),
}


def rank_correlation(order: np.ndarray) -> float:
    """Of places and stored order (Spearman)."""
    found: Any = spearmanr(order, np.arange(len(order)))
    return float(found.statistic)


def draw(sampler: Sampler, seed: int = 0) -> np.ndarray:
    return sampler.draw(np.random.default_rng(seed))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_draw_is_as_long_as_it_says_and_depends_on_the_seed_alone(name: str):
    sampler = SAMPLERS[name]
    assert draw(sampler).shape == (sampler.num_entries,)
    np.testing.assert_array_equal(draw(sampler), draw(sampler))
    assert (draw(sampler) != draw(sampler, 1)).any()
    assert draw(sampler).min() >= 0
    assert draw(sampler).max() < 600


def test_class_aware_visits_every_class_equally_often():
    """Three songs a visit; of max(n) * classes / 4 entries every class has its part, to within one visit."""
    sampler = SAMPLERS["class_aware"]
    assert sampler.num_entries == 400 * 4 // 4
    order = draw(sampler)
    visits = order[: len(order) // 12 * 12].reshape(-1, 4, 3)  # in rounds of the four classes
    for round_ in visits:
        classes = [set.intersection(*(set(np.flatnonzero(LABELS[song])) for song in visit)) for visit in round_]
        assert set.union(*classes) == {0, 1, 2, 3}


def test_an_epoch_of_the_mediaeval_study_is_its_most_frequent_tags_songs_times_56_over_4():
    counts = np.linspace(59, 927, 56).astype(int)  # the rarest and the most frequent tag of Jamendo mood/theme
    labels_NK = np.eye(56, dtype=np.float32)[np.repeat(np.arange(56), counts)]
    assert ClassAware.of(labels_NK).num_entries == len(draw(ClassAware.of(labels_NK))) == 12_978


def test_class_aware_takes_every_song_of_a_class_before_any_comes_again():
    labels_NK = np.eye(3, dtype=np.float32)[np.repeat([0, 1, 2], [40, 10, 5])]
    order = draw(ClassAware.of(labels_NK))
    assert len(order) == 40 * 3 // 4
    for low, high in ((0, 40), (40, 50), (50, 55)):
        counts = Counter(order[(order >= low) & (order < high)].tolist())
        assert max(counts.values()) - (min(counts.values()) if len(counts) == high - low else 0) <= 1


def test_class_aware_without_tags_is_refused():
    with pytest.raises(ValueError, match="needs songs with tags"):
        ClassAware.of(np.zeros((5, 2)))


def test_a_mixture_keeps_its_weights_whatever_the_sizes():
    sampler = SAMPLERS["mixture"]
    assert isinstance(sampler, Mixture)
    order = draw(sampler)
    found = [int(((order >= low) & (order < high)).sum()) for low, high in ((0, 500), (500, 560), (560, 600))]
    assert found == sampler.shares() == [150, 300, 150]
    assert Counter(Counter(order[(order >= 500) & (order < 560)].tolist()).values()) == {5: 60}
    assert max(Counter(order[order < 500].tolist()).values()) == 1


@pytest.mark.parametrize(("counts", "weights"), [((5, 5), (1.0,)), ((5, 0), (1.0, 1.0)), ((5, 5), (1.0, 0.0))])
def test_a_mixture_of_nothing_is_refused(counts: tuple[int, ...], weights: tuple[float, ...]):
    with pytest.raises(ValueError, match="songs and a weight above 0 for each corpus"):
        Mixture(np.repeat(np.arange(len(counts)), counts), weights)


def windows_of(num_songs: int, songs_per_shard: int, window: int, group: int, groups: int) -> Windows:
    return Windows(np.arange(num_songs) // songs_per_shard, window, group, groups)


@pytest.mark.parametrize("num_songs", [600, 603, 96, 5])
def test_windows_hold_every_song_once(num_songs: int):
    order = draw(windows_of(num_songs, 25, 3, 16, 2))
    assert sorted(order.tolist()) == list(range(num_songs))


def test_a_lane_reads_few_shards_at_a_time_and_each_in_one_stretch():
    """What a worker reads in a while lies in the shards of two windows at most, whatever its lanes."""
    num_songs, per_shard, window, group, lanes = 6_000, 50, 4, 8, 3
    order = draw(windows_of(num_songs, per_shard, window, group, lanes))
    steps = order[: num_songs // (group * lanes) * group * lanes].reshape(-1, lanes, group)
    for lane in range(lanes):
        shards = steps[:, lane].reshape(-1) // per_shard
        for low in range(0, len(shards) - 100, 100):
            assert len(set(shards[low : low + 100].tolist())) <= 2 * window
        for shard in set(shards.tolist()):
            places = np.flatnonzero(shards == shard)
            assert places[-1] - places[0] < window * per_shard


def test_windows_forget_the_order_of_shards_and_of_songs_in_a_window():
    """The shuffle is coarser, not biased: places do not follow the stored order (5 sigma of as many shards)."""
    num_songs, per_shard = 10_000, 50
    order = draw(windows_of(num_songs, per_shard, 8, 32, 1))
    assert abs(rank_correlation(order)) < 5 / np.sqrt(num_songs / per_shard)
    within = order[:400]
    assert abs(rank_correlation(within)) < 5 / np.sqrt(8)


def test_rounds_hold_every_value_once():
    drawn = rounds(np.random.default_rng(0), np.arange(7), 20)
    assert sorted(drawn[:7]) == sorted(drawn[7:14]) == list(range(7))
    assert len(drawn) == 20
    assert len(rounds(np.random.default_rng(0), np.arange(7), 0)) == 0


def test_the_shuffle_forgets_the_stored_order():
    """Songs stored by label come mixed: neither their places nor the runs of a label differ from chance (5 sigma)."""
    num_songs = 10_000
    order = draw(Uniform(num_songs))
    assert abs(rank_correlation(order)) < 5 / np.sqrt(num_songs)
    label = order < num_songs // 2
    runs = 1 + int((label[1:] != label[:-1]).sum())
    assert abs(runs - num_songs / 2) < 5 * np.sqrt(num_songs) / 2


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_is_the_same_on_any_workers_and_resumes_anywhere(name: str):
    plan = plan_of(np.random.default_rng(1).integers(CROP, 3 * CROP, 600), 9, sampler=SAMPLERS[name])

    def trace(workers: int, start: int, stop: int) -> bytes:
        return merged([planned_rows(plan, train_items(plan, rank, workers, start, stop)) for rank in range(workers)])

    whole = trace(1, 0, 9)
    rows = np.frombuffer(whole, np.int64).reshape(-1, 5)
    epoch = rows[rows[:, 0] == 1]
    assert len(epoch) == SAMPLERS[name].num_entries
    assert (epoch[:, 3] != rows[rows[:, 0] == 0][:, 3]).any()
    for stop in range(1, 9):
        assert trace(2, 0, stop) + trace(8, stop, 9) == whole


def test_a_run_chooses_its_sampler(corpus: Manifest):
    plans = {
        name: select_data(RunConfig(data=DataConfig(size=40, crop_s=3.0, batch=8, group=4, sampler=name)), corpus).plan
        for name in ("uniform", "class_aware", "windows")
    }
    assert isinstance(plans["windows"].train.sampler, Windows)
    shards = corpus.column("shard")[corpus.select("train", 40)]
    np.testing.assert_array_equal(plans["windows"].train.sampler.shard_N, shards)
    assert plans["uniform"].train.sampler.num_entries == 40
    labels_NK = corpus.labels_NK[corpus.select("train", 40)]
    classes = [tag.kind == "classify" for tag in corpus.vocabulary.tags]
    counts = (labels_NK[:, classes] > 0).sum(axis=0)
    expected = counts.max() * (counts > 0).sum() // 4
    assert plans["class_aware"].train.sampler.num_entries == expected
    with pytest.raises(ValueError, match=r"sampler='fair' is none of \['uniform', 'class_aware', "):
        DataConfig(sampler="fair")


def test_windows_depend_on_the_shards_so_a_run_of_them_does_too(corpus: Manifest):
    """Sharded anew in shards of another size, the same songs come in another order: that is another run."""
    shard = corpus.songs.schema.get_field_index("shard")
    halved = (corpus.column("shard") * 2 + corpus.column("order") % 2).astype(np.int32)
    anew = replace(corpus, songs=corpus.songs.set_column(shard, "shard", pa.array(halved)))
    for sampler, same in (("uniform", True), ("windows", False)):
        run = RunConfig(data=DataConfig(size=40, crop_s=3.0, batch=8, group=4, sampler=sampler))
        assert (select_data(run, corpus).digest == select_data(run, anew).digest) is same


def test_windows_of_another_sampler_are_refused():
    with pytest.raises(ValueError, match=r"window_shards=3 has no effect with sampler=uniform"):
        DataConfig(window_shards=3)
