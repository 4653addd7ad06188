"""jobs/evaluate.py: its numbers recompute from the score tables, its files are whole, its refusals name the remedy."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from job_runs import run
from PIL import Image
from scored_runs import GENRES, multi_label, single_label, write_scored
from sklearn.metrics import accuracy_score, average_precision_score

from genrescale.audio import Tag, Vocabulary
from genrescale.data.manifest import Manifest
from genrescale.data.store import Store
from genrescale.evaluation import build_evaluation
from genrescale.evaluation.figures import embedding_map, embedding_png
from genrescale.evaluation.writing import format_evaluation
from genrescale.results import ScoreTable, read_scores, write_result

MOODS = Vocabulary.of_classes([f"mood{i:02}" for i in range(12)])


@pytest.fixture
def files(tmp_path: Path) -> Store:
    """Three runs of moods: two waveform seeds at the larger size, one at the smaller."""
    store = Store(str(tmp_path))
    for seed in (0, 1):
        write_scored(store, multi_label(noise=seed + 1), MOODS, size=400, seed=seed)
    write_scored(store, multi_label(noise=9, skill=0.5), MOODS, size=100)
    return store


def table_of(files: Store, path: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files.read_bytes(path).decode())))


def test_the_job_evaluates_a_family_at_its_largest_size(files: Store):
    ended = run("evaluate", f"out={files.uri}", "family=waveform", "resamples=50")
    assert ended.returncode == 0, ended.stderr
    folder = "evaluations/waveform-400"
    for path in files.list(folder):
        assert path in ended.stdout
    names = ["evaluation.json", "gap.png", "metrics.csv", "popularity.png", "scores.parquet", "tags.csv"]
    assert sorted(files.list(folder)) == [f"{folder}/{name}" for name in names]
    assert max(map(len, ended.stdout.splitlines()[:-7])) <= 100
    ensemble, tags = read_scores(files, f"{folder}/scores.parquet")
    expected = average_precision_score(ensemble.true_NK, ensemble.score_NK)
    (row,) = [
        row
        for row in table_of(files, f"{folder}/metrics.csv")
        if row["run_id"] == "ensemble" and row["metric"] == "pr_auc"
    ]
    assert float(row["value"]) == pytest.approx(expected)
    assert float(row["low"]) < expected < float(row["high"])
    assert f"{expected:.4f}" in ended.stdout
    assert [line["name"] for line in table_of(files, f"{folder}/tags.csv")] == tags
    content = json.loads(files.read_bytes(f"{folder}/evaluation.json"))
    assert len(content["runs"]) == 2
    assert set(content["paired_test"]) == {"roc_auc", "pr_auc", "f1"}
    for name in ("gap.png", "popularity.png"):
        assert Image.open(io.BytesIO(files.read_bytes(f"{folder}/{name}"))).width > 800


def test_exclusive_tags_have_a_confusion_matrix(tmp_path: Path):
    files, table = Store(str(tmp_path)), single_label()
    row = write_scored(files, table, Vocabulary.of_classes(GENRES, exclusive=True))
    ended = run("evaluate", f"out={files.uri}", f"runs=[{row.run_id[:5]}]", "name=genres", "resamples=30")
    assert ended.returncode == 0, ended.stderr
    lines = table_of(files, "evaluations/genres/confusion.csv")
    counts = np.array([[int(line[genre]) for genre in GENRES] for line in lines])
    right = accuracy_score(table.true_NK.argmax(axis=1), table.score_NK.argmax(axis=1))
    assert counts.trace() / counts.sum() == pytest.approx(right)
    assert f"{right:.4f}" in ended.stdout
    assert "evaluations/genres/confusion.png" in ended.stdout
    assert "ensemble" not in ended.stdout


def test_the_corpus_divides_the_tags_into_head_middle_and_tail(tmp_path: Path, corpus: Manifest):
    files, vocabulary, rng = Store(str(tmp_path)), corpus.vocabulary, np.random.default_rng(0)
    rows = corpus.select("test")
    score_NK = rng.random((len(rows), len(vocabulary)))
    keys = corpus.songs["key"].take(rows).to_pylist()
    table = ScoreTable(keys, [1] * len(keys), [False] * len(keys), corpus.labels_NK[rows], score_NK)
    row = write_scored(files, table, vocabulary, size=20)
    found = build_evaluation(files, [row.run_id], manifest=corpus, resamples=20)
    first = corpus.select("train", 20)
    np.testing.assert_array_equal(found.tags.train_counts_K, corpus.labels_NK[first].sum(axis=0))
    assert [part.name for part in found.tags.classes] == ["head", "middle", "tail"]
    assert sum(part.num_tags for part in found.tags.classes) == vocabulary.classify_K.sum()
    assert "Tags by number of training songs" in format_evaluation(found)
    moods = write_scored(files, multi_label(), MOODS, seed=7)
    with pytest.raises(ValueError, match="has other tags than run"):
        build_evaluation(files, [moods.run_id], manifest=corpus)


def test_a_regress_tag_is_seen_by_its_labels_or_asked_for(tmp_path: Path):
    files, vocabulary = Store(str(tmp_path)), Vocabulary((Tag("energy", "regress"), Tag("rock")))
    rng = np.random.default_rng(0)
    true_NK = np.column_stack([rng.random(50).astype(np.float32), rng.integers(0, 2, 50)])
    table = ScoreTable([str(i) for i in range(50)], [1] * 50, [False] * 50, true_NK, rng.random((50, 2)))
    row = write_scored(files, table, vocabulary)
    found = build_evaluation(files, [row.run_id], resamples=10)
    assert found.metrics[row.run_id]["rmse"].value == pytest.approx(row.rmse)
    clipped = replace(table, true_NK=np.round(true_NK))
    row = write_scored(files, clipped, vocabulary, seed=1)
    with pytest.raises(ValueError, match="give corpus="):
        build_evaluation(files, [row.run_id], resamples=10)


def test_a_row_that_its_scores_do_not_give_is_an_error(files: Store):
    row = write_scored(files, multi_label(), MOODS, seed=5)
    write_result(files, replace(row, pr_auc=0.99))
    with pytest.raises(ValueError, match=f"run {row.run_id}: pr_auc .* its result row says 0.99"):
        build_evaluation(files, [row.run_id])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"either runs=\[ID,...\] or family=NAME; finished are waveform \(100\), waveform \(400\)"),
        (["family=spectrogram"], r"no run of family 'spectrogram'.*waveform \(400\)"),
        (["family=waveform", "size=7"], "with size 7"),
        (["runs=[zzz]"], "run 'zzz' is none of"),
        (["family=waveform", "vote=loud"], "'loud' is none of"),
        (["family=waveform", "name=a/b", "resamples=5"], "name of one folder"),
        (["family=waveform", "resamples=0"], "at least 1"),
    ],
)
def test_a_wrong_request_is_one_sentence(files: Store, overrides: list[str], message: str):
    ended = run("evaluate", f"out={files.uri}", *overrides)
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    with pytest.raises(ValueError, match=message):
        raise ValueError(ended.stderr)
    assert not files.exists("evaluations")


def test_the_map_of_embeddings_keeps_groups_together():
    rng = np.random.default_rng(0)
    tag_N = np.repeat([0, 1, 2], 25)
    embedding_ND = rng.normal(size=(75, 16)) + 8 * np.eye(16)[tag_N]
    map_N2 = embedding_map(embedding_ND)
    distance_NN = np.linalg.norm(map_N2[:, None] - map_N2, axis=2) + 1e9 * np.eye(75)
    assert (tag_N[distance_NN.argmin(axis=1)] == tag_N).all()
    np.testing.assert_array_equal(map_N2, embedding_map(embedding_ND))
    png = embedding_png(embedding_ND, tag_N, ["rock", "jazz", "pop"], "Embeddings of the test songs")
    assert Image.open(io.BytesIO(png)).width > 800
    with pytest.raises(ValueError, match="4 songs or more"):
        embedding_map(embedding_ND[:3])
    with pytest.raises(ValueError, match="a place in the 2 names"):
        embedding_png(embedding_ND, tag_N, ["rock", "jazz"], "")
