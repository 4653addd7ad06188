"""The comparison song by song: popularity and exclusion are counted by hand, and every song shown can be played."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from genrescale.audio import SAMPLE_RATE
from genrescale.data.manifest import Manifest
from genrescale.results import ScoreTable
from genrescale.studies.songs import SHOWN_SONGS, compare_songs, render_songs


def tables(corpus: Manifest) -> tuple[ScoreTable, ScoreTable]:
    """Of the train songs, as they are more: a deep model that is nearly right, and trees that tell no song apart."""
    rows = corpus.select("train")
    keys = corpus.songs["key"].take(rows).to_pylist()
    true_NK = corpus.labels_NK[rows].astype(float)
    right_NK = 0.1 + 0.8 * true_NK
    same_NK = np.tile(true_NK.mean(axis=0), (len(rows), 1))
    made = [
        ScoreTable(keys, [1] * len(keys), [False] * len(keys), true_NK, score_NK) for score_NK in (right_NK, same_NK)
    ]
    return made[0], made[1]


def test_shares_are_those_of_the_songs_counted_by_hand(corpus: Manifest):
    deep, trees = tables(corpus)
    found = compare_songs(corpus, deep, trees, "waveform", "trees")
    by_name = {share.name: share for share in found.shares}
    k = corpus.vocabulary.names.index("drums")
    assert by_name["drums"].true == pytest.approx(deep.true_NK[:, k].mean())
    assert by_name["drums"].deep == pytest.approx((deep.score_NK[:, k] >= 0.5).mean())
    assert by_name["drums"].trees in (0.0, 1.0)
    assert [share.true for share in found.shares] == sorted((share.true for share in found.shares), reverse=True)
    assert "energy" not in by_name  # it is regressed
    assert "waveform predicts them for" in found.popularity


def test_tags_that_exclude_each_other_are_counted_for_both_models(corpus: Manifest):
    deep, trees = tables(corpus)
    j, k = (corpus.vocabulary.names.index(name) for name in ("drums", "piano"))
    true_NK, apart_NK, together_NK = deep.true_NK.copy(), deep.score_NK.copy(), deep.score_NK.copy()
    half = len(true_NK) // 2
    true_NK[:, j], true_NK[:, k] = np.arange(len(true_NK)) < half, np.arange(len(true_NK)) >= half
    apart_NK[:, j], apart_NK[:, k] = true_NK[:, j], true_NK[:, k]
    together_NK[:, j] = together_NK[:, k] = np.linspace(1, 0, len(true_NK))
    found = compare_songs(
        corpus, replace(deep, true_NK=true_NK, score_NK=apart_NK), replace(trees, score_NK=together_NK), "deep", "trees"
    )
    pair = next(pair for pair in found.pairs if {pair.first, pair.second} == {"drums", "piano"})
    assert (pair.together, pair.deep, pair.trees) == (0, 0, half)


def test_the_songs_shown_are_those_that_a_model_tells_better_and_can_be_played(corpus: Manifest):
    deep, trees = tables(corpus)
    found = compare_songs(corpus, deep, trees, "waveform", "trees")
    page = render_songs(found, "a study", corpus.vocabulary)
    assert [song.why for song in found.songs][:SHOWN_SONGS] == ["the deep model is closer"] * SHOWN_SONGS
    assert {song.why for song in found.songs} == {
        "the deep model is closer",
        "drawn by chance",
    }  # trees are never closer
    assert len({song.key for song in found.songs}) == 2 * SHOWN_SONGS
    clips = re.findall(r'src="data:audio/flac;base64,([^"]+)"', page)
    assert len(clips) == 2 * SHOWN_SONGS
    wave_T, rate = soundfile.read(io.BytesIO(base64.b64decode(clips[0])))
    assert rate == SAMPLE_RATE
    assert len(wave_T) > SAMPLE_RATE
    assert "https://" not in page


def test_tables_of_other_songs_are_refused(corpus: Manifest):
    deep, trees = tables(corpus)
    with pytest.raises(ValueError, match="different songs"):
        compare_songs(corpus, deep, replace(trees, keys=trees.keys[::-1]), "deep", "trees")
