"""A model of one's own module is trained and exported by its name; a file that names it imports nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.toy_runs import train_and_score
from helpers.worlds import small_run

from genrescale.config import ModelConfig
from genrescale.data.manifest import Manifest
from genrescale.export import ModelSpec, export_model
from genrescale.export.card import Origin
from genrescale.models import build_model
from genrescale.models.own import use_own
from genrescale.storage.store import Store

NAME = "mymusic.level:Level"
CODE = """
from dataclasses import dataclass
import torch
from torch import nn

@dataclass(frozen=True)
class Dials:
    hidden: int = 4
    min_input_len: int = 8000

class Level(nn.Module):
    Dials = Dials

    def __init__(self, num_tags, **dials):
        super().__init__()
        hidden = Dials(**dials).hidden
        self.body, self.head = nn.Linear(1, hidden), nn.Linear(hidden, num_tags)

    def forward(self, wave_BT):
        level_B1 = wave_BT.square().mean(dim=1, keepdim=True)
        return self.head(torch.relu(self.body(level_B1)))

class Bare(nn.Module):
    pass

class NoLength(nn.Module):
    @dataclass(frozen=True)
    class Dials:
        hidden: int = 4

@dataclass
class NoModule:
    num_tags: int
    Dials = Dials
"""
LOAD = """
import sys
from genrescale.export import load_exported
try:
    print(load_exported(sys.argv[1], own_model=sys.argv[2]).spec.model)
except ValueError as error:
    print(error)
print("mymusic" in sys.modules)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "mymusic").mkdir()
    (folder / "mymusic/__init__.py").touch()
    (folder / "mymusic/level.py").write_text(CODE)
    return folder


@pytest.fixture
def importable(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package)


@pytest.mark.usefixtures("importable", "process_group")
def test_it_trains_and_scores_with_its_dials(corpus: Manifest, tmp_path: Path):
    run = small_run(steps=2, validate_every=2)
    run.model = ModelConfig(NAME, {"hidden": 3})
    metrics, scores = train_and_score(run, corpus, Store(str(tmp_path)))
    assert len(scores.keys) == len(corpus.select("test"))
    assert 0 <= metrics["roc_auc"] <= 1


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mymusic.level:Nothing", "mymusic.level has no class Nothing"),
        ("mymusic.levels:Level", "No module named 'mymusic.levels'; install the package, or name its folder in PYTHON"),
        ("mymusic.level:Bare", "lacks a class Dials that is a dataclass"),
        ("mymusic.level:NoLength", "lacks min_input_len in its Dials"),
        ("../mymusic:Level", "is not of the form package.module:Class"),
    ],
)
def test_what_is_no_model_is_refused_with_the_reason(name: str, words: str):
    with pytest.raises(ValueError, match=words):
        use_own(name)


@pytest.mark.usefixtures("importable")
def test_a_class_that_is_no_module_is_refused():
    use_own("mymusic.level:NoModule")
    with pytest.raises(ValueError, match=r"is no torch\.nn\.Module"):
        build_model("mymusic.level:NoModule", 2)


@pytest.mark.usefixtures("importable")
def test_an_exported_model_imports_it_only_where_a_person_names_it(package: Path, corpus: Manifest, tmp_path: Path):
    use_own(NAME)
    model = build_model(NAME, len(corpus.vocabulary))
    export_model(Store(str(tmp_path)), model, corpus.vocabulary, ModelSpec(NAME, {}, 1.0), Origin("x", "y", "MIT"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *filter(None, sys.path)])}

    def load(named: str) -> list[str]:
        command = [sys.executable, "-c", LOAD, str(tmp_path), named]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()

    refused, imported = load("")
    assert f"own_model={NAME}" in refused
    assert imported == "False"
    assert load(NAME) == [NAME, "True"]
