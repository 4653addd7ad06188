"""What a run leaves behind reads back as written, and a gap is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genrescale.results import ResultRow, ScoreTable, join_scores, read_result, read_scores, write_scores
from genrescale.storage.store import Store


def scores(*keys: str) -> ScoreTable:
    matrix = np.arange(len(keys) * 2, dtype=np.float64).reshape(-1, 2) / 10
    return ScoreTable(list(keys), [2] * len(keys), [False] * len(keys), np.ones_like(matrix), matrix)


def test_scores_read_back_with_their_tags(tmp_path: Path):
    write_scores(Store(str(tmp_path)), "a/scores.parquet", scores("x", "y"), ["rock", "jazz"])
    found, names = read_scores(Store(str(tmp_path)), "a/scores.parquet")
    assert names == ["rock", "jazz"]
    assert found.keys == ["x", "y"]
    np.testing.assert_array_equal(found.score_NK, scores("x", "y").score_NK)


def test_joined_scores_follow_the_expected_order():
    joined = join_scores([scores("b", "c"), scores("a")], ["a", "b", "c"])
    assert joined.keys == ["a", "b", "c"]
    np.testing.assert_allclose(joined.score_NK[:, 0], [0.0, 0.0, 0.2])


@pytest.mark.parametrize("parts", [[scores("a")], [scores("a", "b"), scores("b")], [scores("a", "z")]])
def test_missing_or_repeated_songs_are_refused(parts: list[ScoreTable]):
    with pytest.raises(ValueError, match="songs of 2"):
        join_scores(parts, ["a", "b"])


def test_an_absent_row_is_none_and_a_wrong_one_is_named(tmp_path: Path):
    assert read_result(Store(str(tmp_path)), "abc") is None
    with pytest.raises(ValueError, match=r"missing fields.*'roc_auc'.*unknown fields \['surprise'\]"):
        ResultRow.from_dict({"run_id": "abc", "surprise": 1})


def test_a_write_is_whole_and_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = Store("here")
    assert store.uri == str(tmp_path / "here")
    store.write_bytes("a/b", b"12")
    assert store.list() == ["a/b"]
    assert store.read_range("a/b", 1, 5) == b"2"
    with pytest.raises(FileNotFoundError, match="here/nothing does not exist"):
        store.read_bytes("nothing")
