"""Splits keep artists apart and tags in proportion; every prefix of the nested order stands for the whole."""

from collections import Counter

import numpy as np
import pytest

from genrescale.audio import SPLITS, Song
from genrescale.data.sharding.splits import artist_disjoint, artist_overlap, assign_splits, nested_order


def make_songs(num_songs: int, num_artists: int, split: str | None = None) -> list[Song]:
    return [Song(f"k{i}", f"{i}.mp3", f"artist{i % num_artists}", {}, split) for i in range(num_songs)]


def make_labels(num_songs: int, num_tags: int, seed: int = 0) -> np.ndarray:
    """Multi-label with a long tail, as tags have."""
    chance_K = 0.4 / (1 + np.arange(num_tags)) ** 0.8
    return (np.random.default_rng(seed).random((num_songs, num_tags)) < chance_K).astype(np.float32)


def largest_deviation(labels_NK: np.ndarray, order: np.ndarray) -> float:
    """Most songs by which a prefix has too many or too few of a tag."""
    counts_NK = np.cumsum(labels_NK[order], axis=0)
    expected_NK = np.arange(1, len(order) + 1)[:, None] * labels_NK.mean(axis=0)
    return float(np.abs(counts_NK - expected_NK).max())


def test_our_splits_keep_artists_apart_and_fractions():
    songs, labels_NK = make_songs(2000, 300), make_labels(2000, 20)
    splits = assign_splits(songs, labels_NK, 0.1, 0.2, seed=3)
    counts = Counter(splits)
    assert abs(counts["validation"] - 200) <= 10
    assert abs(counts["test"] - 400) <= 10
    overlap = artist_overlap(songs, splits)
    assert (overlap.artists, overlap.validation_songs, overlap.test_songs) == (0, 0, 0)


def test_every_tag_is_in_proportion_in_every_split():
    songs, labels_NK = make_songs(2000, 500), make_labels(2000, 20)
    splits = np.array(artist_disjoint(songs, labels_NK, (0.1, 0.1), seed=0))
    for split, share in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
        expected_K = labels_NK.sum(axis=0) * share
        found_K = labels_NK[splits == split].sum(axis=0)
        assert (np.abs(found_K - expected_K) <= np.maximum(2, 0.1 * expected_K)).all(), split


def test_splits_depend_on_the_seed_alone():
    songs, labels_NK = make_songs(500, 100), make_labels(500, 10)
    first = assign_splits(songs, labels_NK, 0.1, 0.1, seed=1)
    assert assign_splits(songs, labels_NK, 0.1, 0.1, seed=1) == first
    assert assign_splits(songs, labels_NK, 0.1, 0.1, seed=2) != first


def test_a_song_without_artist_is_its_own_artist():
    songs = [Song(f"k{i}", f"{i}.mp3", "", {}) for i in range(50)]
    assert set(assign_splits(songs, make_labels(50, 3), 0.1, 0.1, seed=0)) == set(SPLITS)


def test_official_splits_are_kept_and_their_overlap_counted():
    songs = [
        Song("a", "a", "x", {}, "train"),
        Song("b", "b", "x", {}, "test"),
        Song("c", "c", "y", {}, "validation"),
        Song("d", "d", "", {}, "test"),
    ]
    splits = assign_splits(songs, np.ones((4, 1), np.float32), 0.1, 0.1, seed=0)
    assert splits == ["train", "test", "validation", "test"]
    overlap = artist_overlap(songs, splits)
    assert (overlap.artists, overlap.validation_songs, overlap.test_songs, overlap.unknown_songs) == (1, 0, 1, 1)


def test_official_splits_without_validation_get_one_from_train():
    songs = [*make_songs(100, 20, "train"), Song("t", "t", "other", {}, "test")]
    splits = assign_splits(songs, make_labels(101, 3), 0.1, 0.5, seed=0)
    assert splits[-1] == "test"
    assert Counter(splits) == {"train": 90, "validation": 10, "test": 1}
    assert artist_overlap(songs, splits).artists == 0


def test_impossible_splits_are_refused():
    labels_NK = np.ones((4, 1), np.float32)
    with pytest.raises(ValueError, match="no song is left for"):
        assign_splits(make_songs(4, 1), labels_NK, 0.1, 0.1, seed=0)
    with pytest.raises(ValueError, match=r"3 songs have an official split and 1 have none .the first: k3"):
        assign_splits([*make_songs(3, 3, "train"), make_songs(4, 4)[3]], labels_NK, 0.1, 0.1, seed=0)
    with pytest.raises(ValueError, match="dev"):
        assign_splits(make_songs(4, 4, "dev"), labels_NK, 0.1, 0.1, seed=0)


def test_nested_order_is_a_seeded_permutation():
    labels_NK = make_labels(700, 12)
    order = nested_order(labels_NK, seed=5)
    assert sorted(order) == list(range(700))
    assert (order == nested_order(labels_NK, seed=5)).all()
    assert (order != nested_order(labels_NK, seed=6)).any()


def test_every_prefix_of_one_label_per_song_is_exact_to_two_songs():
    labels_NK = np.eye(10, dtype=np.float32)[np.random.default_rng(0).integers(0, 10, 1000) // 2]
    assert largest_deviation(labels_NK, nested_order(labels_NK, seed=0)) <= 2


def test_every_prefix_of_many_tags_is_far_closer_than_chance():
    labels_NK = make_labels(3000, 30)
    chance = largest_deviation(labels_NK, np.random.default_rng(0).permutation(3000))
    assert largest_deviation(labels_NK, nested_order(labels_NK, seed=0)) <= 4 < chance / 4


def test_regression_values_are_balanced_too():
    values_NK = np.random.default_rng(0).random((1000, 4)).astype(np.float32)
    chance = largest_deviation(values_NK, np.random.default_rng(1).permutation(1000))
    assert largest_deviation(values_NK, nested_order(values_NK, seed=0)) <= 2 < chance


@pytest.mark.parametrize("num_songs", [0, 1, 2])
def test_tiny_and_untagged_corpora_have_an_order(num_songs: int):
    assert sorted(nested_order(np.zeros((num_songs, 3), np.float32), seed=0)) == list(range(num_songs))
