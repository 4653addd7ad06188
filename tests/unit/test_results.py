"""What a run leaves behind reads back as written, and a gap is an error."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from helpers.sweeps import make_trial, write_run

from genrescale.config import DataConfig, RunConfig, SiteConfig
from genrescale.data.manifest import Manifest
from genrescale.launch.train import finish_run
from genrescale.results import (
    ResultRow,
    ScoreTable,
    join_scores,
    read_result,
    read_results,
    read_scores,
    write_scores,
    write_summary,
)
from genrescale.results.code_version import code_version
from genrescale.results.row import SCHEMA, LoopSummary
from genrescale.storage.parquet import table_bytes
from genrescale.storage.store import Store
from genrescale.training.resolve import resolve

DATA = DataConfig(size=16, crop_s=3.0, batch=8, group=4)


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


def test_an_absent_row_is_none_and_one_reads_back_as_written(tmp_path: Path):
    files = Store(str(tmp_path))
    assert read_result(files, "abc") is None
    row = write_run(files, trial := make_trial("waveform", 100, 0))
    assert read_result(files, trial.run_id) == row
    assert json.loads(files.read_bytes(f"runs/{trial.run_id}/result.json"))["schema"] == SCHEMA


def test_a_row_with_other_fields_is_refused_with_their_names():
    with pytest.raises(ValueError, match=r"missing fields.*'roc_auc'.*unknown fields \['surprise'\]"):
        ResultRow.from_json(json.dumps({"run_id": "abc", "surprise": 1, "schema": SCHEMA}).encode(), "result.json")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"schema": None, "code_version": None}, "has no schema number, so an earlier version wrote it, and"),
        ({"schema": 7, "code_version": "9.0+g123"}, r"is of schema 7 \(code version 9.0\+g123\), and"),
    ],
)
def test_a_row_of_another_schema_is_refused_with_what_to_do(tmp_path: Path, changed: dict[str, Any], told: str):
    """Named are the file, the schemas that were found and expected, and both ways out."""
    files, trial = Store(str(tmp_path)), make_trial("waveform", 100, 0)
    values = {**write_run(files, trial).to_dict(), **changed}
    path = f"runs/{trial.run_id}/result.json"
    files.write_bytes(path, json.dumps({name: v for name, v in values.items() if v is not None}).encode())
    expected = f"{path}: this result row {told} this version reads schema {SCHEMA}: delete the run's folder and run it "
    for read in (lambda: read_result(files, trial.run_id), lambda: read_results(files)):
        with pytest.raises(ValueError, match=f"{expected}again, or read it with the version that wrote it"):
            read()


def test_a_score_table_of_another_schema_is_refused_with_what_to_do(tmp_path: Path):
    table = pa.table({"key": ["x"], "num_crops": [2]}).replace_schema_metadata({"tags": "[]"})
    files = Store(str(tmp_path))
    files.write_bytes("runs/a/scores.parquet", table_bytes(table))
    with pytest.raises(ValueError, match=r"runs/a/scores.parquet: this score table has no schema number, .* schema 1"):
        read_scores(files, "runs/a/scores.parquet")


def test_the_row_takes_every_figure_of_the_workers_without_naming_it(corpus: Manifest, tmp_path: Path):
    """A new figure is measured in one file and defined in another: nothing between them lists figures."""
    examples = {"int": 4, "float": 0.5, "str": "cpu", "bool": True, "list[str]": ["head"], "list[int]": [2]}
    examples["list[dict[str, int | float]]"] = [{"tries": 1.0}]
    figures: dict[str, Any] = {f.name: examples[str(f.type)] for f in fields(LoopSummary)}
    files, summary = Store(str(tmp_path)), LoopSummary(**figures)
    resolved = resolve(RunConfig(data=DATA), SiteConfig(corpus=corpus.uri, out=files.uri, events=False), corpus)
    id, keys = resolved.ticket.run_id, resolved.data.test_keys
    true_NK = corpus.labels_NK[corpus.select("test")]
    write_summary(files, id, summary)
    table = ScoreTable(keys, [1] * len(keys), [False] * len(keys), true_NK, np.full(true_NK.shape, 0.5))
    write_scores(files, f"runs/{id}/scores-0.parquet", table, corpus.vocabulary.names)
    row = finish_run(resolved, launched=0.0)
    assert {name: getattr(row, name) for name in vars(summary)} == vars(summary)
    assert read_result(files, id) == row
    assert files.list("runs") == [f"runs/{id}/result.json", f"runs/{id}/scores.parquet"]
    assert (row.epochs, row.test_songs, row.code_version) == (4 * 8 / 16, len(keys), code_version())


def test_a_write_is_whole_and_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = Store("here")
    assert store.uri == str(tmp_path / "here")
    store.write_bytes("a/b", b"12")
    assert store.list() == ["a/b"]
    assert store.read_range("a/b", 1, 5) == b"2"
    with pytest.raises(FileNotFoundError, match="here/nothing does not exist"):
        store.read_bytes("nothing")
