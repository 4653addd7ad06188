"""Baselines learn what can be learnt, choose on validation songs only, are not repeated, and leave rows like runs'."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.toy_features import Looking, one_by_one, pitched_corpus

from genrescale.audio import PCM_SCALE, SAMPLE_RATE, Split, Tag, Vocabulary
from genrescale.baselines.embeddings import Embeddings
from genrescale.baselines.fit import Songs, fit_linear
from genrescale.baselines.linear import Setting, choose, linear_scores, settings_for, standardise, validation_scores
from genrescale.baselines.run import Ended, baselines_of, memory_text, run_baselines
from genrescale.baselines.targets import Target, joint_targets, single_targets
from genrescale.baselines.trees import TreeDials, grow
from genrescale.config import DataConfig, RunConfig
from genrescale.config.baselines import BaselinesConfig
from genrescale.data.manifest import Manifest
from genrescale.export.published import PUBLISHED_CROP_LEN, load_frozen
from genrescale.metrics import macro_pr_auc, macro_roc_auc, rmse
from genrescale.models import build_model
from genrescale.models.parts.head import head_inputs
from genrescale.results import read_scores
from genrescale.results.baseline import finished_baselines, read_baseline, read_baseline_failures
from genrescale.storage.store import Store
from genrescale.training.select import select_data

FLOOR, TREES = BaselinesConfig(), BaselinesConfig(floor=False, trees=True)
FEW_TREES = TreeDials(max_rounds=400, patience_rounds=10)


@pytest.fixture(scope="module")
def pitched(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return pitched_corpus(tmp_path_factory.mktemp("pitched"))


def trained(
    manifest: Manifest,
    files: Store,
    sizes: tuple[int, ...] = (8, 24),
    config: BaselinesConfig = FLOOR,
    look: Callable[..., Any] | None = None,
    **data: Any,
) -> Ended:
    runs = [RunConfig(data=DataConfig(size=size, **data)) for size in sizes]
    return run_baselines(baselines_of(config), runs, manifest, files, look or Looking([]), one_by_one)


def clouds(num_songs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, 6) of two classes that two of them tell apart, and the classes (N, 1)."""
    rng = np.random.default_rng(seed)
    true_N1 = rng.integers(0, 2, (num_songs, 1)).astype(np.float32)
    value_NF = rng.standard_normal((num_songs, 6)).astype(np.float32)
    value_NF[:, :2] += 2.5 * true_N1
    return value_NF, true_N1


# Learning


def test_the_floor_learns_songs_that_are_told_apart_by_their_sound(pitched: Manifest, tmp_path: Path):
    rows = trained(pitched, Store(str(tmp_path))).rows
    assert [(row.name, row.size) for row in rows] == [("linear floor", 8), ("linear floor", 24)]
    assert rows[-1].accuracy == rows[-1].pr_auc == 1.0
    assert rows[-1].test_songs == 12


def test_shuffled_labels_teach_nothing():
    train, other = clouds(400, 0), clouds(400, 1)
    shuffled_N1 = np.random.default_rng(2).permutation(train[1])
    target, setting = Target("classify", (0,)), Setting(1.0, False)
    x_NF, x_MF = standardise(train[0], other[0])
    learnt, chance = (linear_scores(target, x_NF, labels, x_MF, setting) for labels in (train[1], shuffled_N1))
    assert (macro_roc_auc(other[1], learnt) or 0) > 0.95
    assert (macro_roc_auc(other[1], chance) or 0) == pytest.approx(0.5, abs=0.12)


def test_a_tag_alone_and_a_value_are_learnt_and_stay_within_0_and_1():
    train, other = clouds(300, 0), clouds(300, 1)
    x_NF, x_MF = standardise(train[0], other[0])
    for target in (Target("classify", (0,)), Target("regress", (0,))):
        score_M1 = linear_scores(target, x_NF, train[1], x_MF, Setting(1.0, False))
        assert score_M1.shape == (300, 1)
        assert score_M1.min() >= 0
        assert score_M1.max() <= 1
        assert rmse(other[1], score_M1) < 0.35


def test_a_tag_that_no_train_song_or_every_one_has_scores_its_share():
    value_NF = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    for share in (0.0, 1.0):
        labels_N1 = np.full((20, 1), share, np.float32)
        found = linear_scores(Target("classify", (0,)), value_NF, labels_N1, value_NF[:4], Setting(1.0, False))
        np.testing.assert_array_equal(found, np.full((4, 1), share))
        assert grow("classify", (value_NF, labels_N1[:, 0]), (value_NF, labels_N1[:, 0]), value_NF[:4], 0).rounds == 0


def test_a_class_without_a_train_song_scores_0_and_the_others_sum_to_1():
    value_NF, true_N1 = clouds(40, 0)
    labels_NK = np.concatenate([true_N1, 1 - true_N1, np.zeros_like(true_N1)], axis=1)
    score_NK = linear_scores(Target("one_of", (0, 1, 2)), value_NF, labels_NK, value_NF, Setting(1.0, True))
    np.testing.assert_array_equal(score_NK[:, 2], 0)
    np.testing.assert_allclose(score_NK.sum(axis=1), 1, rtol=1e-6)


def test_one_of_n_tags_are_one_target_and_others_each_their_own():
    mixed = Vocabulary((Tag("rock"), Tag("energy", "regress")))
    assert joint_targets(Vocabulary.of_classes(["a", "b"], exclusive=True)) == [Target("one_of", (0, 1))]
    assert joint_targets(mixed) == single_targets(mixed) == [Target("classify", (0,)), Target("regress", (1,))]


# Choice


def test_the_setting_is_chosen_that_scores_best_on_the_validation_songs():
    target, (true_V1, best) = Target("classify", (0,)), (np.array([[1.0], [0.0], [1.0], [0.0]]), 5)
    good, bad = np.array([[0.9], [0.1], [0.8], [0.2]]), np.array([[0.1], [0.9], [0.3], [0.8]])
    scores = [good if i == best else bad for i in range(len(settings_for(target)))]
    assert choose([target], [scores], true_V1) == settings_for(target)[best]
    equal = [good] * len(scores)
    assert choose([target], [equal], true_V1) == settings_for(target)[0]  # the strongest penalty


def test_a_value_is_chosen_for_by_its_error():
    target, true_V1 = Target("regress", (0,)), np.array([[0.2], [0.7]])
    scores = [true_V1 + (0.01 if i == 2 else 0.3) for i in range(len(settings_for(target)))]
    assert choose([target], [scores], true_V1) == settings_for(target)[2]


def test_test_songs_have_no_part_in_the_choice(pitched: Manifest, tmp_path: Path):
    """Other labels of the test songs, as a leak would want them, change what is scored and not what is chosen."""
    honest = trained(pitched, Store(str(tmp_path / "a"))).rows[-1]
    labels_NK = pitched.labels_NK.copy()
    test = pitched.select("test")
    labels_NK[test] = labels_NK[test][:, ::-1]
    turned = trained(replace(pitched, labels_NK=labels_NK), Store(str(tmp_path / "b"))).rows[-1]
    assert turned.settings == honest.settings
    assert turned.accuracy == 0.0
    ours, theirs = (
        read_scores(Store(str(tmp_path / name)), f"baselines/{row.baseline_id}/scores.parquet")[0].score_NK
        for name, row in (("a", honest), ("b", turned))
    )
    np.testing.assert_array_equal(ours, theirs)


def test_what_chooses_is_given_the_train_and_the_validation_songs_and_no_others(pitched: Manifest):
    data, rng = select_data(RunConfig(data=DataConfig(size=24)), pitched), np.random.default_rng(0)
    vectors: dict[Split, np.ndarray] = {
        split: rng.standard_normal((len(rows), 3)).astype(np.float32) for split, rows in data.rows.items()
    }
    given: list[tuple[Any, ...]] = []

    def run(function: Any, items: Any, *arrays: np.ndarray) -> Any:
        given.append((function, *arrays))
        return one_by_one(function, items, *arrays)

    fit_linear(Songs(vectors, data, pitched), run, seed=0)
    (function, *arrays), (_, *later) = given
    assert function is validation_scores
    for ours, due in zip(arrays[::2], standardise(vectors["train"], vectors["validation"]), strict=True):
        np.testing.assert_array_equal(ours, due)
    np.testing.assert_array_equal(arrays[1], data.train_labels_NK)
    np.testing.assert_array_equal(later[2], standardise(vectors["train"], vectors["test"])[1])


def test_the_choice_sees_a_bounded_number_of_train_songs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("genrescale.baselines.linear.CHOICE_SONGS", 30)
    value_NF, true_N1 = clouds(100, 0)
    spoilt_N1 = true_N1.copy()
    spoilt_N1[30:] = 1 - spoilt_N1[30:]
    target, (other_VF, _) = Target("classify", (0,)), clouds(50, 1)
    found = validation_scores(target, value_NF, spoilt_N1, other_VF)
    for ours, due in zip(found, validation_scores(target, value_NF[:30], true_N1[:30], other_VF), strict=True):
        np.testing.assert_array_equal(ours, due)


# Trees


def test_trees_learn_stop_early_and_are_the_same_again():
    train, validation, test = clouds(300, 0), clouds(100, 1), clouds(300, 2)
    arguments = "classify", (train[0], train[1][:, 0]), (validation[0], validation[1][:, 0]), test[0]
    first, again = (grow(*arguments, seed=3, dials=FEW_TREES) for _ in range(2))
    assert 0 < first.rounds < 400 - FEW_TREES.patience_rounds
    assert (macro_pr_auc(test[1], first.score_M[:, None]) or 0) > 0.9
    np.testing.assert_array_equal(first.score_M, again.score_M)


def test_trees_of_a_value_minimise_its_squared_error():
    rng = np.random.default_rng(0)
    value_NF = rng.random((400, 4)).astype(np.float32)
    true_N = (value_NF[:, 0] > 0.5) * 0.6 + 0.2 * value_NF[:, 1]
    part = value_NF[:200], true_N[:200]
    found = grow("regress", part, (value_NF[200:300], true_N[200:300]), value_NF[300:], 0, FEW_TREES)
    assert rmse(true_N[300:, None], found.score_M[:, None]) < 0.1


def test_trees_are_trained_for_each_tag_and_scored_as_one_of_n(pitched: Manifest, tmp_path: Path):
    files = Store(str(tmp_path))
    (row,) = trained(pitched, files, sizes=(24,), config=TREES).rows
    assert row.name == "boosted trees"
    assert row.accuracy == 1.0
    assert set(row.settings["rounds"]) == {"high", "low"}
    table, names = read_scores(files, f"baselines/{row.baseline_id}/scores.parquet")
    assert names == ["high", "low"]
    np.testing.assert_allclose(table.score_NK.sum(axis=1), 1)


# Rows


def test_a_finished_baseline_is_not_trained_again_and_its_features_are_not_computed_again(
    pitched: Manifest, tmp_path: Path
):
    look, files = Looking([]), Store(str(tmp_path))
    first = trained(pitched, files, look=look)
    seen = len(look.seen)
    again = trained(pitched, files, sizes=(8, 16, 24), look=look)
    assert (first.reused, again.reused) == (0, 2)
    assert [row.size for row in again.rows] == [8, 24, 16]
    assert len(look.seen) == seen  # 16 songs are among the first 24
    assert {row.baseline_id for row in again.rows} == set(finished_baselines(files))


def test_the_id_changes_with_what_may_change_the_result(pitched: Manifest, tmp_path: Path):
    def ids(where: str, config: BaselinesConfig = FLOOR, seed: int = 0, **data: Any) -> str:
        run = RunConfig(data=DataConfig(size=8, **data), seed=seed)
        files = Store(str(tmp_path / where))
        ended = run_baselines(baselines_of(config), [run], pitched, files, Looking([]), one_by_one)
        return ended.rows[0].baseline_id

    same = ids("a")
    assert ids("b") == same
    assert ids("c", seed=1) == same  # nothing in the floor hangs on chance
    assert ids("d", crop_s=3.0) == same  # whole songs
    others = [ids("e", TREES), ids("f", TREES, 1), ids("g", val_songs=2), ids("h", seed=1, labels="shuffled")]
    assert len({same, *others}) == 5


def test_a_row_is_read_as_it_was_written_and_its_metrics_recompute(pitched: Manifest, tmp_path: Path):
    files = Store(str(tmp_path))
    row = trained(pitched, files).rows[0]
    assert read_baseline(files, row.baseline_id) == row
    table, _ = read_scores(files, f"baselines/{row.baseline_id}/scores.parquet")
    assert macro_pr_auc(table.true_NK, table.score_NK) == row.pr_auc
    assert table.keys == pitched.songs["key"].take(pitched.select("test")).to_pylist()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 99}, "schema 99"),
        ({"baseline_id": "0" * 12}, "it is the row of baseline 000000000000"),
        ({"pr_auc": "high"}, "pr_auc"),
    ],
)
def test_a_row_of_another_version_or_place_is_refused(
    pitched: Manifest, tmp_path: Path, change: dict[str, Any], words: str
):
    files = Store(str(tmp_path))
    id = trained(pitched, files, sizes=(8,)).rows[0].baseline_id
    path = tmp_path / "baselines" / id / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=words):
        read_baseline(files, id)


def test_a_baseline_that_fails_is_noted_and_the_others_go_on(
    pitched: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    files, both = Store(str(tmp_path)), BaselinesConfig(trees=True)

    def broken(*_: Any) -> Any:
        raise RuntimeError("no memory\nat all")

    with monkeypatch.context() as patch:
        patch.setattr("genrescale.baselines.run.fit_linear", broken)
        ended = trained(pitched, files, sizes=(8,), config=both)
    assert [row.name for row in ended.rows] == ["boosted trees"]
    (noted,) = read_baseline_failures(files)
    assert (noted.name, noted.size, noted.error) == ("linear floor", 8, "RuntimeError: no memory")
    assert "linear floor failed, the others go on: RuntimeError: no memory\n" in capsys.readouterr().err
    assert trained(pitched, files, sizes=(8,), config=both).reused == 1
    assert read_baseline_failures(files) == []


def test_weights_that_are_not_there_end_nothing(pitched: Manifest, tmp_path: Path):
    config = BaselinesConfig(embeddings={"musicnn": f"{tmp_path}/none.pth", "nothing": "x.pth"})
    ended = trained(pitched, Store(str(tmp_path / "out")), sizes=(8,), config=config)
    assert [row.name for row in ended.rows] == ["linear floor"]
    assert [failure.name for failure in ended.failures] == ["linear on musicnn", "linear on nothing"]
    assert "model 'nothing' is none of" in ended.failures[1].error
    with pytest.raises(ValueError, match=r"baselines.embeddings.fcn='' must be the address"):
        BaselinesConfig(embeddings={"fcn": ""})


def test_memory_is_told_by_counting_arrays():
    text = memory_text(1_000_000, 151, trees=True)
    assert text == (
        "151 features of 1,000,000 songs take 604 MB in the object store of a node, at most 2,212 MB in the job, and "
        "183 MB in each task"
    )


# Embeddings


def test_a_published_models_embeddings_are_the_input_of_its_head_averaged_over_windows(tmp_path: Path):
    torch.manual_seed(0)
    model = build_model("fcn", 50).eval()
    torch.save(model.state_dict(), tmp_path / "best.pth")
    frozen = load_frozen("fcn", Store(str(tmp_path / "best.pth")))
    frozen = replace(frozen, crop_len=int(29 * SAMPLE_RATE))
    extractor = Embeddings(frozen)
    pcm_T = np.random.default_rng(0).integers(-9000, 9000, 59 * SAMPLE_RATE).astype(np.int16)
    found_D = extractor.vector(pcm_T)
    with torch.inference_mode(), head_inputs(model, 50) as parts:
        model(torch.from_numpy(pcm_T[: 58 * SAMPLE_RATE].reshape(2, -1)).float() * PCM_SCALE)
    np.testing.assert_allclose(found_D, parts[0].mean(dim=0).numpy(), rtol=1e-4, atol=1e-5)
    assert len(extractor.columns) == len(found_D)
    assert extractor.name == f"embedding-{frozen.sha256[:12]}"


def test_weights_of_another_model_are_refused(tmp_path: Path):
    torch.save(build_model("crnn", 50).state_dict(), tmp_path / "crnn.pth")
    with pytest.raises(ValueError, match="fcn"):
        load_frozen("fcn", Store(str(tmp_path / "crnn.pth")))


def test_embeddings_are_a_baseline_of_their_own(pitched: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    torch.save(build_model("fcn", 50).state_dict(), tmp_path / "best.pth")
    config = BaselinesConfig(floor=False, embeddings={"fcn": str(tmp_path / "best.pth")})
    monkeypatch.setitem(PUBLISHED_CROP_LEN, "fcn", 29 * SAMPLE_RATE)
    monkeypatch.setattr(Embeddings, "vector", lambda self, pcm_T: np.full(len(self.columns), pcm_T.std(), np.float32))
    (row,) = trained(pitched, Store(str(tmp_path / "out")), sizes=(8,), config=config).rows
    assert row.name == "linear on fcn"
    assert [path.name[:10] for path in Path(pitched.uri, "features").glob("embedding-*")] == ["embedding-"]
