"""Runs and clips combine as the papers say, and only where they are about the same songs and tags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.scored_runs import multi_label, write_scored

from genrescale.audio import Tag, Vocabulary
from genrescale.evaluation.ensemble import combine_clips, combine_runs, read_runs, take, vote
from genrescale.metrics import macro_pr_auc
from genrescale.results import ScoreTable, read_scores, write_scores
from genrescale.storage.store import Store

CLASSES = Vocabulary.of_classes(["jazz", "pop", "rock"], exclusive=True)
TAGS = Vocabulary.of_classes(["jazz", "pop", "rock"])
MOODS = Vocabulary.of_classes([f"mood{i:02}" for i in range(12)])


def ballots(*rows: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(len(rows), int), np.array(rows)


def test_a_hard_vote_follows_the_majority_and_a_soft_vote_the_mean():
    given = ballots([0.4, 0.3, 0.3], [0.4, 0.3, 0.3], [0.0, 0.0, 1.0])
    np.testing.assert_allclose(vote(*given, CLASSES, "hard"), [[2 / 3, 0, 1 / 3]])
    np.testing.assert_allclose(vote(*given, CLASSES, "soft"), [[0.8 / 3, 0.2, 1.6 / 3]])
    assert vote(*given, CLASSES, "soft_on_ties").argmax() == 0


def test_the_mean_decides_a_tie_and_nothing_else():
    tie = ballots([0.6, 0.4, 0.0], [0.2, 0.5, 0.3], [0.0, 0.1, 0.9])  # one vote each; means .27, .33, .4
    assert vote(*tie, CLASSES, "soft_on_ties").argmax() == 2
    assert vote(*tie, CLASSES, "hard").argmax() == 0, "the first of equal shares"
    # 2-2-0: the third tag has the highest mean but no vote
    two = ballots([0.5, 0.02, 0.48], [0.5, 0.02, 0.48], [0.03, 0.49, 0.48], [0.03, 0.49, 0.48])
    assert two[1].mean(axis=0).argmax() == 2
    assert vote(*two, CLASSES, "soft_on_ties").argmax() == 0


@pytest.mark.parametrize("voters", [2, 3, 4, 5])
def test_votes_on_single_tags_are_majorities_with_ties_broken_by_the_mean(voters: int):
    score_VNK = np.random.default_rng(voters).random((voters, 500, 3))
    song_n = np.tile(np.arange(500), voters)
    found_NK = vote(song_n, score_VNK.reshape(-1, 3), TAGS, "soft_on_ties")
    yes_NK, mean_NK = (score_VNK >= 0.5).sum(axis=0), score_VNK.mean(axis=0)
    expected_NK = np.where(2 * yes_NK == voters, mean_NK >= 0.5, 2 * yes_NK > voters)
    np.testing.assert_array_equal(found_NK >= 0.5, expected_NK)
    np.testing.assert_allclose(vote(song_n, score_VNK.reshape(-1, 3), TAGS, "hard"), yes_NK / voters)


def test_a_regress_tag_is_always_the_mean():
    vocabulary = Vocabulary((Tag("energy", "regress"), Tag("rock")))
    given = ballots([0.6, 0.6], [0.7, 0.9], [0.2, 0.1])
    for how in ("hard", "soft_on_ties", "soft"):
        assert vote(*given, vocabulary, how)[0, 0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("how", "scores", "message"),
    [
        ("loud", [[0.1, 0.2, 0.3]], "none of.*soft_on_ties"),
        ("soft", [[0.1, 0.2]], "1 ballots of 3 tags"),
        ("soft", [[-2.0, 0.2, 0.3]], "probabilities"),
    ],
)
def test_a_vote_that_makes_no_sense_is_refused(how: str, scores: list[list[float]], message: str):
    with pytest.raises(ValueError, match=message):
        vote(np.zeros(1, int), np.array(scores), CLASSES, how)
    with pytest.raises(ValueError, match="song 1 of 3 has no ballot"):
        vote(np.array([0, 2]), np.full((2, 3), 0.1), CLASSES)


def test_the_ensemble_of_runs_is_their_mean_song_by_song_and_better_than_each(tmp_path: Path):
    files = Store(str(tmp_path))
    a, b = multi_label(noise=1), multi_label(noise=2)
    order = np.random.default_rng(0).permutation(len(b.keys))
    rows = [write_scored(files, a, MOODS, seed=0), write_scored(files, take(b, order), MOODS, seed=1)]
    found = combine_runs(read_runs(files, [row.run_id for row in rows]), MOODS)
    assert found.keys == a.keys
    np.testing.assert_allclose(found.score_NK, (a.score_NK + b.score_NK) / 2, atol=1e-12)
    assert found.num_windows == [4] * len(a.keys)
    values = [macro_pr_auc(table.true_NK, table.score_NK) for table in (found, a, b)]
    assert max(value or 0 for value in values) == values[0]
    write_scores(files, "ensemble.parquet", found, MOODS.names)
    assert read_scores(files, "ensemble.parquet")[0].keys == found.keys


def test_runs_that_differ_are_refused_by_name():
    a, names = multi_label(), MOODS.names
    other_true = a.true_NK.copy()
    other_true[4, 2] = 1 - other_true[4, 2]
    for other, other_names, message in (
        (take(a, np.arange(1, 300)), names, "run second and run first.*different songs: 1 .*song-0000"),
        (replace(a, keys=["new", *a.keys[1:]]), names, "different songs: 2 .*new"),
        (a, [*names[:-1], "polka"], r"different tags: \['mood11', 'polka'\]"),
        (a, names[::-1], "in another order"),
        (replace(a, true_NK=other_true), names, "different labels: song song-0004, tag mood02"),
    ):
        with pytest.raises(ValueError, match=message):
            combine_runs({"first": (a, names), "second": (other, other_names)}, MOODS)
    with pytest.raises(ValueError, match="not those of the vocabulary"):
        combine_runs({"first": (a, names)}, Vocabulary.of_classes([f"tag{i:02}" for i in range(12)]))


def test_runs_without_scores_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match="no scores of nosuchrun: no such run"):
        read_runs(Store(str(tmp_path)), ["nosuchrun"])


def test_clips_of_a_song_vote():
    """The GTZAN project's three clips a song: hard, and soft where they name three genres."""
    true_NK = np.eye(3)[[0, 0, 0, 1, 1, 1]]
    score_NK = np.array([[0.6, 0.4, 0], [0.5, 0.4, 0.1], [0, 0, 1.0], [0.5, 0.5, 0], [0, 0.9, 0.1], [0.1, 0.2, 0.7]])
    clips = ScoreTable([f"c{i}" for i in range(6)], [1] * 6, [False] * 5 + [True], true_NK, score_NK)
    song_of = {f"c{i}": "abba"[i // 3] for i in range(6)}
    songs = combine_clips(clips, song_of, CLASSES, "soft_on_ties")
    assert (songs.keys, songs.num_windows, songs.padded) == (["a", "b"], [3, 3], [False, True])
    assert songs.score_NK.argmax(axis=1).tolist() == [0, 1]
    with pytest.raises(ValueError, match="1 clips have no song, such as c5"):
        combine_clips(clips, {key: song_of[key] for key in clips.keys[:5]}, CLASSES)
    with pytest.raises(ValueError, match="clips c0 and c3 are of one song but have other labels"):
        combine_clips(clips, dict.fromkeys(clips.keys, "a"), CLASSES)
