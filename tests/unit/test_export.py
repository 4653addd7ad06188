"""An exported model is the model: the same logits from a folder of four files, and damage is told by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.job_runs import run
from helpers.sweeps import make_row, make_trial
from safetensors.torch import load_file, save
from torch import nn

from genrescale.audio import Tag, Vocabulary
from genrescale.config import DataConfig, InitConfig, ModelConfig, RunConfig, SiteConfig
from genrescale.export import CARD, DATA, TAGS, ModelSpec, export_model, load_exported
from genrescale.export.card import Origin
from genrescale.models import build_model
from genrescale.results import ScoreTable, write_result, write_scores
from genrescale.results.weights import WEIGHTS, model_path, read_weights
from genrescale.storage.store import Store
from genrescale.training.checks import check_run
from genrescale.training.parameters import transfer

DIALS = {"frontend_width": 0.25, "backend_filters": 16, "backend_units": 8, "log_mel_mean": 0.7, "log_mel_std": 1.3}
SPEC = ModelSpec("spectrogram", DIALS, crop_s=2.0, scoring="spread:4", loss="bce")
VOCABULARY = Vocabulary((Tag("rock", group="genre"), Tag("energy", kind="regress"), Tag("a | b")))
ORIGIN = Origin(
    "tiny", "twelve songs", "CC-BY-4.0", run_id="0a1b2c", metrics={"roc_auc": 0.75, "rmse": None}, measured_on="3 songs"
)


def trained_model() -> nn.Module:
    """A model whose every array differs from a fresh one's."""
    torch.manual_seed(3)
    model = build_model("spectrogram", 3, **DIALS)
    for _ in range(2):
        model(torch.randn(4, 32_000) / 5)
    return model.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export_model(Store(str(tmp_path / "model")), trained_model(), VOCABULARY, SPEC, ORIGIN)
    return tmp_path / "model"


def test_the_folder_holds_four_files_and_gives_the_same_model(folder: Path):
    assert sorted(path.name for path in folder.iterdir()) == sorted([WEIGHTS, TAGS, DATA, CARD])
    found = load_exported(str(folder))
    assert found.vocabulary == VOCABULARY
    assert (found.spec.model, found.spec.crop_s, found.spec.scoring, found.spec.loss) == (
        *("spectrogram", 2.0, "spread:4"),
        "bce",
    )
    assert not found.model.training
    wave_BT = torch.randn(2, 32_000) / 5
    assert torch.equal(found.model(wave_BT), trained_model()(wave_BT))


def test_data_json_says_all_that_another_program_needs(folder: Path):
    data = json.loads((folder / DATA).read_text())
    assert data["sample_rate"] == 16_000
    assert data["crop_len"] == 32_000
    # every dial, so that a default that changes later does not change the model
    assert data["dials"]["backend_layers"] == 3
    assert data["dials"]["log_mel_mean"] == 0.7
    assert data["frontend"]["num_mels"] == 96
    assert data["frontend"]["scale"] == "slaney"


def test_the_weights_are_plain_arrays_by_their_names(folder: Path):
    assert set(load_file(folder / WEIGHTS)) == set(trained_model().state_dict())


def test_the_card_says_training_scores_and_licence_and_leaves_out_what_is_not_known(folder: Path):
    card = (folder / CARD).read_text()
    for words in ("twelve songs", "CC-BY-4.0", "license: cc-by-4.0", "0a1b2c", "| ROC-AUC | 0.7500 |", "On 3 songs"):
        assert words in card
    assert "RMSE" not in card
    parameters = sum(p.numel() for p in trained_model().parameters())
    assert f"| Parameters | {parameters:,} |" in card


def test_a_model_that_does_not_fit_its_tags_is_not_exported(tmp_path: Path):
    with pytest.raises(ValueError, match=r"not the weights of spectrogram .* and 2 tags"):
        export_model(Store(str(tmp_path)), trained_model(), Vocabulary.of_classes(["a", "b"]), SPEC, ORIGIN)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="needs at least"):
        replace(SPEC, crop_s=0.01)


def test_what_is_no_exported_model_is_told_with_the_remedy(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no data.json.*jobs/export.py.*jobs/import_weights.py"):
        load_exported(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "data", "words"),
    [
        (WEIGHTS, b"\x00" * 100, "model.safetensors is no safetensors file"),
        (WEIGHTS, save({"a": torch.zeros(1)}), "model.safetensors: not the weights of spectrogram"),
        (TAGS, b'{"tags": []}', "tags.json is not a vocabulary"),
        (DATA, b'{"format": 99, "sample_rate": 16000}', "data.json is not a data specification.*99"),
        (DATA, b"{", "data.json is not a data specification"),
    ],
)
def test_damage_names_its_file(folder: Path, file: str, data: bytes, words: str):
    (folder / file).write_bytes(data)
    with pytest.raises(ValueError, match=words):
        load_exported(str(folder))


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Path, str]:
    """A finished run as its files: result row, scores and weights."""
    files = Store(str(tmp_path / "sweep"))
    trial = make_trial("spectrogram", 100, 0)
    config = trial.config | {"model": {"name": "spectrogram", "dials": DIALS}, "loss": "by_kind"}
    write_result(files, make_row(trial, config=config, dials=DIALS))
    true_NK = np.array([[1, 0.4, 0], [0, 0.7, 1]])
    scores = ScoreTable(["a", "b"], [1, 1], [False, False], true_NK, true_NK)
    write_scores(files, f"runs/{trial.run_id}/scores.parquet", scores, VOCABULARY.names)
    metadata = {
        "model": "spectrogram",
        "dials": json.dumps(DIALS),
        "tags": json.dumps(VOCABULARY.names),
        "crop_s": "3.0",
    }
    weights = save(trained_model().state_dict(), metadata)
    files.write_bytes(f"runs/{trial.run_id}/model.safetensors", weights)
    return tmp_path, trial.run_id


def test_a_finished_run_becomes_an_exported_model(finished: tuple[Path, str]):
    folder, run_id = finished
    ended = run("export", f"out={folder}/sweep", f"run={run_id}", f"to={folder}/model", "licence=MIT")
    assert ended.returncode == 0, ended.stderr
    found = load_exported(f"{folder}/model")
    assert [(tag.name, tag.kind) for tag in found.vocabulary.tags] == [(tag.name, tag.kind) for tag in VOCABULARY.tags]
    assert not found.vocabulary.exclusive
    assert (found.spec.crop_s, found.spec.scoring, found.spec.loss) == (3.0, "consecutive", "by_kind")
    wave_BT = torch.randn(2, 48_000) / 5
    assert torch.equal(found.model(wave_BT), trained_model()(wave_BT))
    card = (folder / "model" / "README.md").read_text()
    row = make_row(make_trial("spectrogram", 100, 0))
    for words in (run_id, "100 songs of the corpus synthetic", "300 test songs", f"| PR-AUC | {row.pr_auc:.4f} |"):
        assert words in card


def test_a_run_that_is_not_there_or_left_no_weights(finished: tuple[Path, str]):
    folder, run_id = finished
    ended = run("export", f"out={folder}/sweep", "run=nosuchrun", f"to={folder}/model")
    assert ended.returncode == 2
    assert f"no finished run 'nosuchrun'; finished: {run_id}" in ended.stderr
    (folder / "sweep" / "runs" / run_id / "model.safetensors").unlink()
    ended = run("export", f"out={folder}/sweep", f"run={run_id}", f"to={folder}/model")
    assert ended.returncode == 2
    assert "has no stored weights" in ended.stderr


def test_a_run_may_start_from_an_exported_folder(tmp_path: Path):
    """Imported weights are fine-tuned: their folder lies among the parents' runs."""
    parents = Store(str(tmp_path))
    export_model(parents.child("runs/imported"), trained_model(), VOCABULARY, SPEC, ORIGIN)
    model = ModelConfig("spectrogram", DIALS)
    run_of_all = RunConfig(model=model, data=DataConfig(crop_s=3.0), init=InitConfig("imported", "all"))
    check_run(run_of_all, SiteConfig(parents=str(tmp_path)), VOCABULARY)
    torch.manual_seed(8)
    child = build_model("spectrogram", 3, **DIALS)
    assert transfer(child, read_weights(parents, model_path("imported"))[0], "all", 3, same_tags=True) == []
    wave_BT = torch.randn(2, 32_000) / 5
    assert torch.equal(child.eval()(wave_BT), trained_model()(wave_BT))
    with pytest.raises(ValueError, match="tags"):
        check_run(run_of_all, SiteConfig(parents=str(tmp_path)), Vocabulary((Tag("x"), Tag("y"), Tag("z"))))
