"""jobs/evaluate.py: its numbers recompute from the score tables, its files are whole, its refusals name the remedy."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.job_runs import run
from helpers.scored_runs import GENRES, multi_label, single_label, write_scored
from helpers.small_corpus import SETTINGS, make_song, shard_here
from helpers.sweeps import make_trial
from PIL import Image
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, precision_recall_curve

from genrescale.audio import Tag, Vocabulary
from genrescale.data.manifest import Manifest
from genrescale.evaluation import build_evaluation
from genrescale.evaluation.figures import embedding_map, embedding_png
from genrescale.evaluation.reading import chosen_rows
from genrescale.evaluation.writing import format_evaluation
from genrescale.results import ScoreTable, read_scores, write_curve, write_planned, write_result
from genrescale.storage.store import Store

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
    assert set(content["paired_test"]) == {"roc_auc", "pr_auc", "f1", "micro_roc_auc", "micro_pr_auc", "micro_f1"}
    for name in ("gap.png", "popularity.png"):
        assert Image.open(io.BytesIO(files.read_bytes(f"{folder}/{name}"))).width > 800


def test_a_family_is_the_runs_of_the_grid_that_differ_by_seed_alone(files: Store):
    """At a sweep's smallest size the learning-rate and layer axes have runs of the family too."""
    grid = [write_scored(files, multi_label(noise=seed), MOODS, size=100, seed=seed) for seed in (1, 2)]
    rate = write_scored(files, multi_label(noise=7), MOODS, size=100, lr=0.01)
    rows, left_out = chosen_rows(files, [], "waveform", 100)  # without a plan: the recipe with the most runs
    assert ([row.seed for row in rows], left_out) == ([0, 1, 2], [rate])
    write_planned(files, [make_trial("waveform", 100, 0, "lr"), make_trial("waveform", 100, 0, "grid", lr=0.01)])
    assert chosen_rows(files, [], "waveform", 100)[0] == [rate]
    plan = [make_trial("waveform", 100, seed) for seed in (0, 1, 2)]
    write_planned(files, [*plan, make_trial("waveform", 100, 0, "lr", lr=0.01)])
    ended = run("evaluate", f"out={files.uri}", "family=waveform", "size=100", "resamples=10")
    assert ended.returncode == 0, ended.stderr
    content = json.loads(files.read_bytes("evaluations/waveform-100/evaluation.json"))
    assert content["runs"] == [trial.run_id for trial in plan]
    assert content["left_out"] == [rate.run_id]
    assert "ensemble of 3" in ended.stdout
    note = f"run {rate.run_id} has another recipe and is left out: optim.lr 0.001 -> 0.01"
    assert note in " ".join(ended.stdout.split())
    named = build_evaluation(files, [grid[0].run_id, rate.run_id], resamples=5)  # who names runs gets them
    assert (len(named.rows), named.left_out) == (2, [])


def test_a_family_without_a_main_recipe_is_refused_with_its_runs(tmp_path: Path):
    files = Store(str(tmp_path))
    rows = [write_scored(files, multi_label(noise=i), MOODS, lr=lr) for i, lr in enumerate((1e-3, 1e-2))]
    with pytest.raises(
        ValueError, match=r"differ by more than their seeds; name those of one recipe with runs=: "
    ) as no:
        build_evaluation(files, family="waveform")
    assert all(row.run_id in str(no.value) for row in rows)


def test_overfit_scores_are_as_tabulated_and_as_printed(files: Store):
    row = write_scored(files, multi_label(), MOODS, seed=5)
    found = build_evaluation(files, [row.run_id], resamples=5)
    loss = 0.2 + 0.5 * math.exp(-1000 / 300)  # of the last validation (scored_runs)
    score = found.overfits[row.run_id]
    assert score.tabulated == pytest.approx(loss / (1 + loss))
    assert score.printed == pytest.approx(0.75 * loss / (1 + loss))
    text = format_evaluation(found)
    assert f"{score.tabulated:.4f}" in text
    assert f"{score.printed:.4f}" in text
    write_curve(files, row.run_id, [{"step": 100, "train_loss": 1.0, "val_loss": 1.0}])  # several tags: no accuracy
    score = build_evaluation(files, [row.run_id], resamples=5).overfits[row.run_id]
    assert (score.tabulated, score.printed) == (0.5, None)


def test_the_best_f1_of_each_tag_is_scikit_learns(files: Store):
    table = multi_label(noise=3)
    row = write_scored(files, table, MOODS, seed=6)
    run("evaluate", f"out={files.uri}", f"runs=[{row.run_id}]", "name=one", "resamples=5")
    for k, line in enumerate(table_of(files, "evaluations/one/tags.csv")):
        precision, recall, _ = precision_recall_curve(table.true_NK[:, k], table.score_NK[:, k])
        best = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
        assert float(line["best_f1"]) == pytest.approx(best)
        said = table.score_NK[:, k] >= float(line["best_threshold"])
        assert f1_score(table.true_NK[:, k], said) == pytest.approx(best)


def test_clips_of_a_song_vote_for_it(tmp_path: Path):
    vocabulary = Vocabulary.of_classes(["rock", "jazz", "pop"], exclusive=True)
    songs = [replace(make_song(tmp_path, i, f"song{i // 3}"), labels={vocabulary.names[i // 3 % 3]: 1.0})
             for i in range(36)]  # fmt: skip
    settings = replace(SETTINGS, test_fraction=0.4)
    corpus = shard_here(songs, Store(str(tmp_path / "out")), settings=settings, vocabulary=vocabulary).manifest
    rows = corpus.select("test")
    keys = corpus.songs["key"].take(rows).to_pylist()
    score_NK = np.random.default_rng(0).dirichlet([1, 1, 1], len(keys)) + 0.3 * corpus.labels_NK[rows]
    score_NK /= score_NK.sum(axis=1, keepdims=True)
    files, table = Store(str(tmp_path)), ScoreTable(
        keys, [1] * len(keys), [False] * len(keys), corpus.labels_NK[rows], score_NK
    )  # fmt: skip
    row = write_scored(files, table, vocabulary, size=10)
    song_n = np.array(corpus.songs["artist"].take(rows).to_pylist())
    right = {how: [] for how in ("soft", "hard", "soft_on_ties")}
    for song in np.unique(song_n):
        own_nK, true = score_NK[song_n == song], corpus.labels_NK[rows][song_n == song][0].argmax()
        votes_K = np.bincount(own_nK.argmax(axis=1), minlength=3)
        right["soft"].append(own_nK.mean(axis=0).argmax() == true)
        right["hard"].append(votes_K.argmax() == true)
        tied_K = np.where(votes_K == votes_K.max(), own_nK.mean(axis=0), -1)
        right["soft_on_ties"].append(tied_K.argmax() == true)
    assert len(np.unique(song_n)) < len(song_n)
    ended = run("evaluate", f"out={files.uri}", f"runs=[{row.run_id}]", f"corpus={corpus.uri}", "clips=true", "name=v")
    assert ended.returncode == 0, ended.stderr
    votes = json.loads(files.read_bytes("evaluations/v/evaluation.json"))["clip_votes"]
    assert {how: found["accuracy"] for how, found in votes.items()} == pytest.approx(
        {how: np.mean(found) for how, found in right.items()}
    )
    assert "Songs by the votes of their clips" in ended.stdout
    refused = run("evaluate", f"out={files.uri}", f"runs=[{row.run_id}]", "clips=true")
    assert (refused.returncode, "clips=true needs corpus=" in refused.stderr) == (2, True)


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
    with pytest.raises(ValueError, match=f"run {row.run_id}: pr_auc .* 0.99 in its result row"):
        build_evaluation(files, [row.run_id])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"either runs=\[ID,...\] or family=NAME; finished runs: waveform \(100\), waveform \(400\)"),
        (["family=spectrogram"], r"no run of family 'spectrogram'.*waveform \(400\)"),
        (["family=waveform", "size=7"], "with size 7"),
        (["runs=[zzz]"], "run 'zzz' is none of"),
        (["family=waveform", "vote=loud"], "'loud' is none of"),
        (["family=waveform", "name=a/b", "resamples=5"], "name of a folder"),
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
    with pytest.raises(ValueError, match="at least 4 songs"):
        embedding_map(embedding_ND[:3])
    with pytest.raises(ValueError, match="an index into the 2 names"):
        embedding_png(embedding_ND, tag_N, ["rock", "jazz"], "")
