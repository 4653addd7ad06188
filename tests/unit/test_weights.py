"""The model that a run leaves, and the runs that start from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.worlds import SMALL, small_run
from safetensors import safe_open

from genrescale.config import InitConfig, ModelConfig, OptimConfig, RunConfig, SiteConfig, run_id
from genrescale.data.manifest import Manifest
from genrescale.models import build_model
from genrescale.results.weights import model_path, read_header, read_weights, write_model
from genrescale.storage.store import Store
from genrescale.training.assemble import build_loop
from genrescale.training.checks import check_run
from genrescale.training.select import select_data

pytestmark = pytest.mark.usefixtures("process_group")
PARENT = "0123456789ab"


@pytest.fixture
def out(tmp_path: Path, corpus: Manifest) -> Store:
    """The folder of a finished run: a model of the corpus' tags whose weights are all 0.25."""
    files, run = Store(str(tmp_path)), small_run()
    model = build_model("waveform", len(corpus.vocabulary), **SMALL)
    weights = {name: torch.full_like(weight, 0.25) for name, weight in model.state_dict().items()}
    write_model(files, PARENT, run, corpus.vocabulary.names, weights)
    files.write_bytes(f"runs/{PARENT}/result.json", b"{}")
    return files


def child(take: str = "new_head", **dials: int) -> RunConfig:
    run = small_run()
    return replace(run, model=ModelConfig("waveform", {**SMALL, **dials}), init=InitConfig(PARENT, take))


def check(run: RunConfig, corpus: Manifest, site: SiteConfig) -> None:
    check_run(run, site, corpus.vocabulary)


def test_safetensors_reads_the_weights_and_what_they_are(out: Store, corpus: Manifest):
    with safe_open(str(out.local_path(model_path(PARENT))), "pt") as file:
        metadata, names = file.metadata(), set(file.keys())
    assert metadata["model"] == "waveform"
    assert json.loads(metadata["dials"]) == SMALL
    assert json.loads(metadata["tags"]) == corpus.vocabulary.names
    assert float(metadata["crop_s"]) == 3.0
    assert names == set(build_model("waveform", len(corpus.vocabulary), **SMALL).state_dict())


def test_the_header_is_read_without_the_weights(out: Store, corpus: Manifest):
    header = read_header(out, PARENT)
    weights, same = read_weights(out, model_path(PARENT))
    assert same == header
    assert header.tags == corpus.vocabulary.names
    assert header.shapes == {name: tuple(weight.shape) for name, weight in weights.items()}


def test_a_run_starts_from_its_parents_weights_with_a_head_of_its_own(out: Store, corpus: Manifest):
    run = child()
    data = select_data(run, corpus)
    loop = build_loop(run, SiteConfig(out=out.uri), corpus.vocabulary, data.plan, lambda *_: None)
    head = ["backend.output.weight", "backend.output.bias"]
    assert loop.fresh_weights == head
    weights = loop.engine.weights()
    assert (weights["backend.conv.weight"] == 0.25).all()
    assert (weights["backend.norm.running_var"] == 0.25).all()
    assert not (weights["backend.output.weight"] == 0.25).any()


def test_a_run_of_the_same_tags_may_take_the_head_too(out: Store, corpus: Manifest):
    run = child("matching")
    data = select_data(run, corpus)
    loop = build_loop(run, SiteConfig(out=out.uri), corpus.vocabulary, data.plan, lambda *_: None)
    assert loop.fresh_weights == []
    assert (loop.engine.weights()["backend.output.weight"] == 0.25).all()


def test_the_parent_may_lie_in_another_folder(out: Store, corpus: Manifest, tmp_path: Path):
    check(child(), corpus, SiteConfig(out=str(tmp_path / "other"), parents=out.uri))
    with pytest.raises(ValueError, match=rf"init.run={PARENT}: .*other holds no such run.*site.parents"):
        check(child(), corpus, SiteConfig(out=str(tmp_path / "other")))


def test_an_unfinished_parent_is_refused_before_anything_starts(out: Store, corpus: Manifest):
    out.delete(model_path(PARENT))
    out.delete(f"runs/{PARENT}/result.json")
    out.write_bytes(f"runs/{PARENT}/error.txt", b"killed")
    with pytest.raises(ValueError, match=f"init.run={PARENT}: the run in .* has not finished"):
        check(child(), corpus, SiteConfig(out=out.uri))


def test_a_parent_without_weights_is_refused(out: Store, corpus: Manifest):
    out.delete(model_path(PARENT))
    with pytest.raises(ValueError, match=r"left no weights.*train it again"):
        check(child(), corpus, SiteConfig(out=out.uri))


def test_a_parent_of_another_shape_is_refused_with_what_differs(out: Store, corpus: Manifest):
    with pytest.raises(ValueError, match=r"backend.dense.weight .*init.take=matching"):
        check(child(backend_units=12), corpus, SiteConfig(out=out.uri))
    check(child("matching", backend_units=12), corpus, SiteConfig(out=out.uri))
    check(child("all"), corpus, SiteConfig(out=out.uri))


def test_a_frozen_name_that_the_model_lacks_is_refused_before_anything_starts(corpus: Manifest, tmp_path: Path):
    run = replace(small_run(), optim=OptimConfig(freeze=["trunk"]))
    with pytest.raises(ValueError, match=r"freeze=\['trunk'\]"):
        check(run, corpus, SiteConfig(out=str(tmp_path)))


@pytest.mark.parametrize("run", ["inf", "1230000.0", "a/b"])
def test_what_a_command_line_made_a_number_is_no_run_id(run: str):
    with pytest.raises(ValueError, match=r"init\.run='.*' is not a run id.*quote"):
        InitConfig(run)


def test_the_parent_is_part_of_a_runs_identity_and_its_folder_is_not():
    ids = {run_id(run, "data") for run in (small_run(), child(), child("all"), child("matching"))}
    assert len(ids) == 4
    with pytest.raises(ValueError, match=r"no effect without init\.run"):
        InitConfig(take="all")


@pytest.mark.parametrize("damage", [b"", b"\x07", b"\xff" * 200, b"\x02\0\0\0\0\0\0\0[]"], ids=len)
def test_a_damaged_parent_is_named_before_anything_starts(out: Store, corpus: Manifest, damage: bytes):
    out.write_bytes(model_path(PARENT), damage)
    with pytest.raises(ValueError, match=rf"{PARENT}/model\.safetensors is no safetensors file, or a damaged one"):
        check(child(), corpus, SiteConfig(out=out.uri))
    with pytest.raises(ValueError, match=rf"{PARENT}/model\.safetensors is no safetensors file, or a damaged one"):
        read_weights(out, model_path(PARENT))
