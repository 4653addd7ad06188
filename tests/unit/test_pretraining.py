"""Pretraining is a run like any other, without tags, and a run of tags starts from it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.sweeps import make_row, make_trial
from torch import Tensor

from genrescale.config import (
    AugmentConfig,
    ContrastConfig,
    DataConfig,
    InitConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    SiteConfig,
)
from genrescale.data.manifest import Manifest
from genrescale.data.reading.plan import score_items
from genrescale.data.reading.source import local_stream
from genrescale.evaluation import build_evaluation
from genrescale.export import export_run
from genrescale.losses import build_loss
from genrescale.models import build_model
from genrescale.models.ssast import SsastTagger, fit_positions
from genrescale.results import write_result
from genrescale.results.weights import write_model
from genrescale.storage.store import Store
from genrescale.training.assemble import build_loop
from genrescale.training.checks import check_run
from genrescale.training.loop import SongScores, TrainingLoop
from genrescale.training.outputs import PRETEXT_COLUMNS
from genrescale.training.resolve import complete_run
from genrescale.training.select import RunData, select_data

pytestmark = pytest.mark.usefixtures("process_group")
PARENT = "0123456789ab"
TINY = {"size": "tiny", "depth": 1, "position_frames": 96}
DATA = DataConfig(size=32, crop_s=1.0, batch=8, group=4, scoring="spread:1")
OPTIM = OptimConfig(lr=1e-3, betas=[0.95, 0.999], weight_decay=5e-7, max_steps=36, validate_every=6, patience_steps=0)
PRETRAINING = RunConfig(model=ModelConfig("ssast_pretraining", TINY), data=DATA, optim=OPTIM, loss="pretext")


def make_loop(run: RunConfig, corpus: Manifest, out: str = "") -> tuple[TrainingLoop, RunData]:
    data = select_data(run, corpus)
    return build_loop(run, SiteConfig(out=out), corpus.vocabulary, data.plan, lambda *_: None), data


def train(loop: TrainingLoop, data: RunData) -> SongScores:
    source = data.source()
    loop.train(local_stream(source, data.plan.items(0, 1)))
    items = list(score_items(data.test, 0, 1))
    return loop.score_best(data.test, items, local_stream(source, items))


@pytest.fixture(scope="module")
def pretrained(corpus: Manifest) -> tuple[list[dict[str, float | None]], SongScores, dict[str, Tensor], dict[str, Any]]:
    """The curve, the test songs' measures, the best weights and the metrics of a short pretraining."""
    run = complete_run(PRETRAINING, corpus, 32)
    check_run(run, SiteConfig(out="/nowhere"), corpus.vocabulary)
    loop, data = make_loop(run, corpus)
    scores = train(loop, data)
    return loop.state.curve, scores, loop.best_weights, loop.outputs.metrics(scores.true_NK, scores.score_NK)


@pytest.fixture
def out(tmp_path: Path, pretrained: tuple[Any, ...], corpus: Manifest) -> Store:
    """The folder that the finished pretraining left."""
    files = Store(str(tmp_path))
    write_model(files, PARENT, complete_run(PRETRAINING, corpus, 32), [], pretrained[2])
    row = make_row(make_trial("waveform", 32, 0), roc_auc=None, pr_auc=None, pretext=pretrained[3]["pretext"])
    write_result(files, replace(row, run_id=PARENT))
    return files


def test_pretraining_lowers_the_loss_of_unseen_songs(pretrained):
    curve, scores, _, metrics = pretrained
    assert curve[-1]["val_loss"] < curve[0]["val_loss"] - 0.3
    masked = round(400 / 512 * 8 * 6)  # of the patches of a second
    assert scores.score_NK[:, 0].mean() < math.log(masked) - 0.2, "chance: all of the masked patches alike"
    assert scores.score_NK[:, 2].mean() > 2 / masked
    assert {line["val_roc_auc"] for line in curve} == {None}
    assert {name: metrics[name] for name in ("roc_auc", "pr_auc", "rmse", "accuracy")} == dict.fromkeys(
        ("roc_auc", "pr_auc", "rmse", "accuracy")
    )
    assert list(metrics["pretext"]) == list(PRETEXT_COLUMNS)
    assert metrics["pretext"]["generative_loss"] == pytest.approx(scores.score_NK[:, 1].mean())
    assert scores.loss_sum / len(scores.songs_N) == pytest.approx(
        (scores.score_NK[:, 0] + 10 * scores.score_NK[:, 1]).mean(), rel=1e-5
    )


def test_the_loss_weighs_both_objectives_and_looks_at_no_tags(corpus: Manifest):
    pretext_B3 = torch.tensor([[1.0, 0.2, 0.5], [3.0, 0.4, 0.9]])
    for tags_BK in (torch.zeros(2, 5), torch.ones(2, 5)):
        assert float(build_loss("pretext", corpus.vocabulary)(pretext_B3, tags_BK)) == pytest.approx(2 + 10 * 0.3)
        dialled = build_loss("pretext", corpus.vocabulary, generative_weight=1)
        assert float(dialled(pretext_B3, tags_BK)) == pytest.approx(2.3)


def test_a_group_is_masked_alike_in_every_validation_of_every_run(corpus: Manifest):
    wave_BT = np.random.default_rng(0).integers(-3000, 3000, (2, 16_000)).astype(np.int16)
    loop, _ = make_loop(PRETRAINING, corpus)
    first = loop.engine.logits(wave_BT, 3)
    torch.manual_seed(77)
    assert torch.equal(loop.engine.logits(wave_BT, 3), first)
    assert not torch.equal(loop.engine.logits(wave_BT, 4), first)
    other, _ = make_loop(replace(PRETRAINING, seed=9), corpus)
    other.engine.load_weights(loop.best_weights)
    assert torch.equal(other.engine.logits(wave_BT, 3), first)


def fine_tuning(take: str = "matching", **dials: Any) -> RunConfig:
    return replace(
        PRETRAINING, model=ModelConfig("ssast", {**TINY, **dials}), loss="bce", init=InitConfig(PARENT, take)
    )


def test_fine_tuning_starts_from_the_pretrained_backbone(out: Store, corpus: Manifest, pretrained):
    """Stride 16 to 10: positions are interpolated, every other weight of the backbone is taken, the head is new."""
    run, source = complete_run(fine_tuning(), corpus, 32), pretrained[2]
    run = replace(run, optim=replace(run.optim, max_steps=2, validate_every=2))
    check_run(run, SiteConfig(out=out.uri), corpus.vocabulary)
    loop, data = make_loop(run, corpus, out.uri)
    assert sorted(loop.fresh_weights) == ["head.bias", "head.weight", "head_norm.bias", "head_norm.weight"]
    weights = loop.engine.weights()
    model = build_model("ssast", len(corpus.vocabulary), **TINY)
    assert isinstance(model, SsastTagger)
    positions = fit_positions(source, model)["backbone.positions"]
    assert positions.shape != source["backbone.positions"].shape
    for name, weight in weights.items():
        if name == "backbone.positions":
            assert torch.equal(weight, positions)
        elif name.startswith("backbone."):
            assert torch.equal(weight, source[name]), name
    scores = train(loop, data)
    assert scores.score_NK.shape == (len(scores.songs_N), len(corpus.vocabulary))


def test_fine_tuning_of_other_widths_takes_what_fits(out: Store, corpus: Manifest):
    loop, _ = make_loop(fine_tuning(depth=2), corpus, out.uri)
    assert {name.split(".")[2] for name in loop.fresh_weights if name.startswith("backbone")} == {"1"}
    with pytest.raises(ValueError, match=r"head_norm.weight \[192\] \(there absent\).*init.take=matching"):
        check_run(fine_tuning("new_head"), SiteConfig(out=out.uri), corpus.vocabulary)
    with pytest.raises(ValueError, match="no weight of the parent matches"):
        check_run(fine_tuning(size="small"), SiteConfig(out=out.uri), corpus.vocabulary)


def test_pretraining_goes_on_from_pretraining(out: Store, corpus: Manifest, pretrained):
    run = replace(PRETRAINING, init=InitConfig(PARENT, "all"))
    check_run(run, SiteConfig(out=out.uri), corpus.vocabulary)
    loop, _ = make_loop(run, corpus, out.uri)
    assert loop.fresh_weights == []
    assert torch.equal(loop.engine.weights()["mask_token"], pretrained[2]["mask_token"])


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (replace(PRETRAINING, loss="bce"), "go with each other only; found model ssast_pretraining with loss=bce"),
        (replace(PRETRAINING, model=ModelConfig("ssast", TINY)), "found model ssast with loss=pretext"),
        (replace(PRETRAINING, contrast=ContrastConfig(0.5)), "no head and looks at no tags: contrast.weight"),
        (replace(PRETRAINING, optim=replace(OPTIM, layer_decay=0.5)), "optim.layer_decay cannot be used"),
        (replace(PRETRAINING, optim=replace(OPTIM, backbone_lr=0.5)), "optim.backbone_lr cannot be used"),
        (replace(PRETRAINING, optim=replace(OPTIM, freeze=["all_but_head"])), r"optim.freeze=\[all_but_head\]"),
        (replace(PRETRAINING, optim=replace(OPTIM, best_by="val_roc_auc")), "optim.best_by=val_roc_auc"),
        (replace(PRETRAINING, init=InitConfig(PARENT)), "init.take=new_head"),
        (replace(PRETRAINING, data=replace(DATA, labels="shuffled")), "data.labels=shuffled"),
        (replace(PRETRAINING, augment=AugmentConfig(spec_augment="median")), "spec_augment masks spectrograms"),
        (replace(PRETRAINING, data=replace(DATA, crop_s=0.1)), "needs crops of"),
    ],
)
def test_what_cannot_be_pretrained_is_refused_before_it_starts(run: RunConfig, words: str, corpus: Manifest):
    with pytest.raises(ValueError, match=words):
        check_run(run, SiteConfig(out="/nowhere"), corpus.vocabulary)


def test_a_pretraining_is_neither_evaluated_nor_exported(out: Store, tmp_path: Path):
    with pytest.raises(ValueError, match=f"has no run with tags: {PARENT} pretrained without them"):
        build_evaluation(out, [PARENT])
    write_result(out, make_row(make_trial("waveform", 32, 0)))
    with pytest.raises(ValueError, match=f"run {PARENT} pretrained without tags; evaluate the runs that started"):
        build_evaluation(out, [PARENT[:4]])
    with pytest.raises(ValueError, match=f"run {PARENT} was pretrained without tags: export a run that starts"):
        export_run(out, PARENT, Store(str(tmp_path / "model")))
