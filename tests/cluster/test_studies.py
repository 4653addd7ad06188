"""The smallest ``pons2018`` on real Ray: trained, scored on windows and whole songs, filled in, and never repeated."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from helpers.job_runs import Ended, RunJob

from genrescale.data.manifest import Manifest
from genrescale.results import finished_runs
from genrescale.storage.store import Store

pytestmark = pytest.mark.cluster
FEW_STEPS = ["optim.max_steps=4", "optim.validate_every=2", "data.batch=8", "data.group=4", "data.crop_s=3.0"]


def settings(corpus: Manifest, out: Path) -> list[str]:
    keys = ("songs", "mtt", "msd")
    recipes = [f"scales.demo.recipes.{key}.{setting}" for key in keys for setting in FEW_STEPS]
    sizes = ["scales.demo.recipes.songs.sizes=[40]", *(f"scales.demo.recipes.{key}.sizes=[40]" for key in keys[1:])]
    given = [f"corpora.{key}={corpus.uri}" for key in keys]
    few = ["scales.demo.recipes.songs.seeds=[0]", "only=[table1,windows]"]
    return ["study=pons2018", "scale=demo", *recipes, *sizes, *given, *few, f"out={out}"]


@pytest.fixture(scope="module")
def studied(job: RunJob, corpus: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    out = tmp_path_factory.mktemp("study")
    ended = job("study", *settings(corpus, out))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return out, ended


def rows(out: Path, table: str) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "tables" / f"{table}.csv").read_text().splitlines()))


def test_every_row_of_the_chosen_tables_has_a_number_and_the_others_are_missing(studied: tuple[Path, Ended]):
    out, ended = studied
    trained = [row for table in ("table1", "windows") for row in rows(out, table) if row["run_ids"]]
    assert len(trained) == 2 + 8
    assert all(0 < float(row["roc_auc_mean"]) < 1 for row in trained)
    others = [row["pr_auc_mean"] for row in rows(out, "table2") if row["run_ids"]]
    assert others.count("missing") == len(others) - 1  # here the basic model of table 4 is a row of table 2, too
    assert "study.html" in ended.stdout
    assert "6 runs" in ended.stdout  # the runs of the windows are those of whole songs, too


def test_whole_songs_score_otherwise_than_windows_of_the_same_runs(studied: tuple[Path, Ended]):
    out, _ = studied
    found = rows(out, "windows")
    for windows, whole in ((0, 2), (1, 3), (4, 6), (5, 7)):
        assert found[windows]["run_ids"] == found[whole]["run_ids"]
        assert found[windows]["roc_auc_mean"] != found[whole]["roc_auc_mean"]


def test_the_same_command_trains_nothing_again(studied: tuple[Path, Ended], job: RunJob, corpus: Manifest):
    out, _ = studied
    before = {path: path.stat().st_mtime_ns for path in sorted(out.glob("runs/*/*"))}
    ended = job("study", *settings(corpus, out))
    assert ended.returncode == 0, ended.stderr
    assert "6 runs, 6 of them from before" in ended.stdout
    assert {path: path.stat().st_mtime_ns for path in sorted(out.glob("runs/*/*"))} == before


def test_the_page_stands_on_its_own_and_its_numbers_lead_to_rows(studied: tuple[Path, Ended]):
    out, _ = studied
    text = (out / "study.html").read_text()
    linked = set(re.findall(r'href="runs/(\w+)/result.json"', text))
    assert linked == set(finished_runs(Store(str(out))))
    assert "A demonstration" in text
    assert "://" not in text.replace(str(out), "").replace("http://www.w3.org/", "")
