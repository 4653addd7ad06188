"""Baselines on real Ray: trained through Ray Data and tasks, shown by the report, and not trained again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.job_runs import RunJob
from helpers.toy_features import Looking, one_by_one

from genrescale.baselines.run import baselines_of, run_baselines
from genrescale.config import DataConfig, RunConfig
from genrescale.config.baselines import BaselinesConfig
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.results import read_scores
from genrescale.results.baseline import finished_baselines, read_baseline
from genrescale.storage.store import Store

pytestmark = pytest.mark.cluster


def test_floor_and_trees_are_trained_shown_and_not_repeated(job: RunJob, corpus: Manifest, tmp_path: Path):
    shutil.copytree(corpus.uri, tmp_path / "corpus", ignore=shutil.ignore_patterns("features"))
    arguments = (f"corpus={tmp_path}/corpus", f"out={tmp_path}/out", "sizes=[24]", "baselines.trees=true")
    ended = job("baselines", *arguments)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("│ linear floor") == ended.stdout.count("│ boosted trees") == 1
    files = Store(str(tmp_path / "out"))
    rows = [read_baseline(files, id) for id in finished_baselines(files)]
    assert sorted((row.name, row.size) for row in rows) == [("boosted trees", 24), ("linear floor", 24)]
    page = (tmp_path / "out" / "report.html").read_text()
    assert all(f"{row.pr_auc:.4f}" in page for row in rows)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "corpus" / "features").iterdir()}
    assert {name.rpartition("-")[0] for name in kept} == {"log_mel", "hand_made"}

    written = _written(tmp_path)
    again = job("baselines", *arguments)
    assert "2 baselines, 2 of them from before; 0 failed" in again.stdout
    assert written == _written(tmp_path)
    assert kept == {path.name: path.read_bytes() for path in (tmp_path / "corpus" / "features").iterdir()}

    # without Ray the floor is the same; the trees would compile librosa's functions here once more
    here, run = Store(str(tmp_path / "here")), RunConfig(data=DataConfig(size=24))
    manifest = read_manifest(str(tmp_path / "corpus"))
    (row,) = run_baselines(baselines_of(BaselinesConfig()), [run], manifest, here, Looking([]), one_by_one).rows
    ours, theirs = (read_scores(of, f"baselines/{row.baseline_id}/scores.parquet")[0].score_NK for of in (here, files))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def _written(folder: Path) -> dict[str, int]:
    """When each row was written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.glob("out/baselines/*/result.json")}


def test_a_sweep_trains_the_floor_first_and_shows_it(swept: tuple[Path, str], corpus: Manifest):
    out, printed = swept
    (id,) = finished_baselines(Store(str(out)))
    row = read_baseline(Store(str(out)), id)
    assert (row.name, row.size) == ("linear floor", 40)
    assert "│ linear floor" in printed
    assert "the linear floor" in (out / "report.html").read_text()
    assert (out / "table.csv").read_text().splitlines()[-1].startswith("linear floor,40,1,1,")
    assert Path(corpus.uri, "features").is_dir()
