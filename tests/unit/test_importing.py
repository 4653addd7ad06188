"""Published checkpoints as models to tag with, or as parents of runs; what cannot be is told with a remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.job_runs import run
from helpers.literal_won import checkpoint
from helpers.ssast_names import pretrained_file
from safetensors.torch import save_file
from torch import Tensor

from genrescale.audio import Vocabulary
from genrescale.config import DataConfig, InitConfig, ModelConfig, RunConfig, SiteConfig
from genrescale.export import load_exported
from genrescale.models import build_model
from genrescale.models.ssast import SsastTagger, fit_positions
from genrescale.results.weights import read_header
from genrescale.storage.store import Store
from genrescale.training.assemble import start_from_parent
from genrescale.training.checks import check_run
from genrescale.training.parameters import learned_names

VOCABULARY = Vocabulary.of_classes(["a", "b"])
TINY = {"size": "tiny", "depth": 2, "position_frames": 96}


@pytest.fixture
def pretrained(tmp_path: Path) -> dict[str, Tensor]:
    """The arrays of a pretrained SSAST, of which ``pretrained.pth`` holds what its authors would have saved."""
    torch.manual_seed(0)
    ours = build_model("ssast_pretraining", 0, **TINY).state_dict()
    torch.save(pretrained_file(ours, 96), tmp_path / "pretrained.pth")
    return ours


def fine_tuning(parent: str) -> RunConfig:
    return RunConfig(
        model=ModelConfig("ssast", TINY), data=DataConfig(crop_s=1.0), init=InitConfig(parent, "matching"), loss="bce"
    )


def test_a_pretrained_ssast_is_a_parent(pretrained: dict[str, Tensor], tmp_path: Path):
    """Without tags, dials or crop_s; a run of tags takes its backbone, with positions interpolated."""
    given = ["model=ssast_pretraining", "licence=BSD-3-Clause", f"to={tmp_path}/parents/runs/gong"]
    ended = run("import_weights", f"checkpoint={tmp_path}/pretrained.pth", *given)
    assert ended.returncode == 0, ended.stderr
    parents = Store(str(tmp_path / "parents"))
    header = read_header(parents, "gong")
    assert (header.tags, header.metadata["model"], header.metadata["crop_s"]) == ([], "ssast_pretraining", "10.24")
    assert {name: header.dials[name] for name in TINY} == TINY
    site, child = SiteConfig(parents=parents.uri, out=str(tmp_path)), fine_tuning("gong")
    check_run(child, site, VOCABULARY)
    model = build_model("ssast", 2, **TINY)
    assert isinstance(model, SsastTagger)
    fresh = start_from_parent(model, child, parents, VOCABULARY)
    assert sorted(fresh) == ["head.bias", "head.weight", "head_norm.bias", "head_norm.weight"]
    expected = fit_positions(pretrained, model)
    for name in set(learned_names(model)) - set(fresh):
        assert torch.equal(model.state_dict()[name], expected[name]), name


def test_its_card_says_fine_tune_and_tagging_says_so_too(pretrained: dict[str, Tensor], tmp_path: Path):
    given = [f"checkpoint={tmp_path}/pretrained.pth", "model=ssast_pretraining", f"to={tmp_path}/runs/gong"]
    assert run("import_weights", *given).returncode == 0
    card = (tmp_path / "runs" / "gong" / "README.md").read_text()
    for words in ("without tags. Fine-tune them", "run.init.run=NAME run.init.take=matching", "pretrained.pth"):
        assert words in card
    with pytest.raises(FileNotFoundError, match=r"pretrained weights without tags \(to be fine-tuned"):
        load_exported(str(tmp_path / "runs" / "gong"))


def test_what_only_can_be_fine_tuned_from_names_the_way(pretrained: dict[str, Tensor], tmp_path: Path):
    (tmp_path / "tags.txt").write_text("a\nb\n")
    torch.save(checkpoint("short_chunk_res"), tmp_path / "won.pth")
    for file, model, remedy in (
        ("pretrained.pth", "ssast", "ssast_pretraining"),
        ("won.pth", "mediaeval_res", "short_chunk_res"),
    ):
        ended = run(
            "import_weights", f"checkpoint={tmp_path}/{file}", f"model={model}", f"tags={tmp_path}/tags.txt",
            f"to={tmp_path}/model",
        )  # fmt: skip
        assert ended.returncode == 2
        assert f"import them with model={remedy} to=PARENTS/runs/NAME, and train with run.model.name={model}" in (
            ended.stderr
        )
        assert not (tmp_path / "model").exists()


def test_wons_model_is_a_parent_of_mediaevals(tmp_path: Path):
    """The remedy works: the spectrogram's batch norm and blocks 1 to 5 are taken."""
    torch.save(state := checkpoint("short_chunk_res"), tmp_path / "won.pth")
    given = [f"checkpoint={tmp_path}/won.pth", "model=short_chunk_res", "tags=msd", f"to={tmp_path}/runs/won"]
    assert run("import_weights", *given).returncode == 0
    child = RunConfig(
        model=ModelConfig("mediaeval_res"), data=DataConfig(crop_s=4.6), init=InitConfig("won", "matching")
    )
    model = build_model("mediaeval_res", 2)
    fresh = start_from_parent(model, child, Store(str(tmp_path)), VOCABULARY)
    assert {name.split(".")[0] for name in fresh} == {"layer6_wide", "layer7_wide", "dense_1", "bn_1", "dense_2"}
    assert torch.equal(model.state_dict()["layer5.conv_2.weight"], state["layer5.conv_2.weight"])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["model=ssast_pretraining", "tags=mtat"], "models trained without tags"),
        (["model=ssast"], "for any other give mtat, msd, jamendo or a file"),
        (["model=ssast_pretraining", "+dials.size=small"], "with size='tiny', but this model has size='small'"),
    ],
)
def test_settings_that_do_not_belong_together(
    pretrained: dict[str, Tensor], tmp_path: Path, settings: list[str], words: str
):
    ended = run("import_weights", f"checkpoint={tmp_path}/pretrained.pth", f"to={tmp_path}/model", *settings)
    assert ended.returncode == 2
    assert words in ended.stderr


def test_sample_cnn_gets_the_dials_of_wons_weights(tmp_path: Path):
    torch.save(checkpoint("sample_cnn"), tmp_path / "won.pth")
    given = [f"checkpoint={tmp_path}/won.pth", "model=sample_cnn", "tags=mtat"]
    assert run("import_weights", *given, f"to={tmp_path}/model").returncode == 0
    assert load_exported(str(tmp_path / "model")).spec.dials["norm_eps"] == 1e-5
    ended = run("import_weights", *given, "+dials.norm_eps=1e-3", f"to={tmp_path}/other")
    assert ended.returncode == 2
    assert "of a model with norm_eps=1e-05, but this model has norm_eps=0.001" in ended.stderr


TAGS = ["rock", "jazz", "pop", "metal"]


def imported(tmp_path: Path, content: object, tags: str | bytes = "\n".join(TAGS), name: str = "c.pth", to: str = "m"):
    """The end of ``jobs/import_weights.py`` with a file of these weights, and the arrays that it wrote."""
    if name.endswith(".safetensors"):
        save_file(content, tmp_path / name)  # type: ignore[arg-type]
    else:
        torch.save(content, tmp_path / name)
    (tmp_path / "tags").write_bytes(tags.encode() if isinstance(tags, str) else tags)
    settings = ["model=short_chunk", f"tags={tmp_path / 'tags'}", "licence=MIT", f"to={tmp_path / to}"]
    ended = run("import_weights", f"checkpoint={tmp_path / name}", *settings)
    return ended, load_exported(str(tmp_path / to)) if ended.returncode == 0 else None


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return checkpoint("short_chunk", len(TAGS))


@pytest.mark.parametrize("wrapper", ["compiled", "lightning", "averaged", "parallel and compiled"])
def test_the_prefixes_of_wrappers_are_taken_off(wrapper: str, weights: dict[str, Tensor], tmp_path: Path):
    content: dict[str, object] = {
        "compiled": {f"_orig_mod.{name}": array for name, array in weights.items()},
        "lightning": {"state_dict": {f"model.{name}": array for name, array in weights.items()}, "epoch": 3},
        "averaged": {f"module.{name}": array for name, array in weights.items()} | {"n_averaged": torch.tensor(5)},
        "parallel and compiled": {f"module._orig_mod.{name}": array for name, array in weights.items()},
    }
    ended, exported = imported(tmp_path, content[wrapper])
    assert exported is not None, ended.stderr
    assert exported.vocabulary.names == TAGS


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_imported(dtype: torch.dtype, weights: dict[str, Tensor], tmp_path: Path):
    halved = {name: a.to(dtype).contiguous() if a.is_floating_point() else a for name, a in weights.items()}
    ended, exported = imported(tmp_path, halved, name="half.safetensors")
    assert exported is not None, ended.stderr
    assert {p.dtype for p in exported.model.parameters()} == {torch.float32}


def test_weights_that_are_no_numbers_are_refused_by_name(weights: dict[str, Tensor], tmp_path: Path):
    spoilt = {name: array.clone() for name, array in weights.items()}
    name = next(name for name in reversed(spoilt) if name.endswith("weight"))
    spoilt[name].view(-1)[0] = torch.nan
    ended, _ = imported(tmp_path, spoilt)
    assert ended.returncode == 2
    assert f"holds numbers that are not finite, in {name}: training diverged, or it is damaged" in ended.stderr


def test_another_object_in_the_file_is_named(weights: dict[str, Tensor], tmp_path: Path):
    ended, _ = imported(tmp_path, {"model": weights, "best": np.float64(0.9)})
    assert ended.returncode == 2
    assert "it holds a numpy._core.multiarray.scalar, which is no array; save its state_dict() alone" in ended.stderr
    assert "\x1b" not in ended.stderr


@pytest.mark.parametrize(
    "tags", ["\ufeff" + "\n".join(TAGS), '["rock", "jazz", "pop", "metal"]', "rock\r\njazz\r\npop\r\nmetal"]
)
def test_a_tags_file_is_read_as_people_have_it(tags: str, weights: dict[str, Tensor], tmp_path: Path):
    ended, exported = imported(tmp_path, weights, tags)
    assert exported is not None, ended.stderr
    assert exported.vocabulary.names == TAGS


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        (b"\x93NUMPY\x01\x00", "/tags is no text in UTF-8; give a text file with a tag in each line"),
        ("rock\nélectro\npop\nmetal".encode("latin-1"), "/tags is no text in UTF-8"),
        (b'{"a": 1}', "/tags holds JSON, but neither a list of names nor an exported model's tags.json"),
    ],
)
def test_a_file_that_is_no_tags_file_is_named(tags: bytes, told: str, weights: dict[str, Tensor], tmp_path: Path):
    ended, _ = imported(tmp_path, weights, tags)
    assert ended.returncode == 2
    assert told in ended.stderr
