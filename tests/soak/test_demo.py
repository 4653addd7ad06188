"""make soak: the demo's recipe as its README promises it, twice: once undisturbed, once killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from genrescale.data.manifest import read_manifest
from genrescale.report import build_report
from genrescale.results import ResultRow, read_planned, read_results, read_scores, run_folder
from genrescale.storage.store import Store

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]
ROOT = Path(__file__).parents[2]


def command(out: Path, *overrides: str) -> list[str]:
    return [sys.executable, "jobs/scale_sweep.py", "sweep=demo", f"out={out}", *overrides]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo")
    subprocess.run(command(out), cwd=ROOT, check=True, timeout=1500)
    return out


def grid(out: Path) -> dict[tuple[str, int], list[ResultRow]]:
    rows, files = defaultdict(list), Store(str(out))
    found = read_results(files)
    for trial in read_planned(files):
        if trial.axis == "grid":
            rows[trial.model, trial.size].append(found[trial.run_id])
    return rows


def test_the_shards_verify_against_the_manifest(demo: Path):
    verify = [sys.executable, "jobs/verify_corpus.py", f"corpus={demo / 'shards'}"]
    ended = subprocess.run(verify, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stdout


def test_every_metric_recomputes_from_its_score_table_with_scikit_learn(demo: Path):
    files, vocabulary = Store(str(demo)), read_manifest(str(demo / "shards")).vocabulary
    classify = vocabulary.classify_K
    rows = read_results(files)
    assert len(rows) == 10
    for id, row in rows.items():
        scores, names = read_scores(files, f"{run_folder(id)}/scores.parquet")
        assert names == vocabulary.names
        true, score = scores.true_NK[:, classify], scores.score_NK[:, classify]
        both = (true.min(axis=0) == 0) & (true.max(axis=0) == 1)
        assert row.roc_auc == pytest.approx(roc_auc_score(true[:, both], score[:, both]), abs=1e-12)
        assert row.pr_auc == pytest.approx(average_precision_score(true[:, both], score[:, both]), abs=1e-12)
        error = scores.true_NK[:, ~classify] - scores.score_NK[:, ~classify]
        assert row.rmse == pytest.approx(float(np.sqrt(np.square(error).mean())), abs=1e-9)


def test_the_verdict_at_the_largest_size_holds(demo: Path):
    assert build_report(Store(str(demo))).answer.headline.endswith(" higher with 1,000 songs")


@pytest.mark.parametrize("family", ["waveform", "spectrogram"])
def test_the_largest_size_beats_the_smallest_by_more_than_the_seeds_spread(demo: Path, family: str):
    scores = {
        size: [row.pr_auc or 0.0 for row in rows] for (model, size), rows in grid(demo).items() if model == family
    }
    few, many = scores[min(scores)], scores[max(scores)]
    spread = np.std(many, ddof=1)
    assert np.mean(many) - np.mean(few) > spread, scores


def test_training_waits_for_data_less_than_two_percent_of_the_time(demo: Path):
    shares = [row.data_wait_share for row in read_results(Store(str(demo))).values()]
    print(f"data wait: median {np.median(shares):.3f}, largest {max(shares):.3f}")
    assert np.median(shares) < 0.02


def test_killed_in_the_middle_and_run_again_it_ends_with_the_same_table(demo: Path, tmp_path: Path):
    out = tmp_path / "killed"
    job = subprocess.Popen(command(out), cwd=ROOT, start_new_session=True)
    while len(finished := list(out.glob("runs/*/result.json"))) < 6:
        assert job.poll() is None
        time.sleep(1)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    written = {path: path.stat().st_mtime_ns for path in finished}
    subprocess.run(command(out), cwd=ROOT, check=True, timeout=1500)
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())
    for name in ("table.csv", "figure.png"):
        assert (out / name).read_bytes() == (demo / name).read_bytes(), name


def test_trained_on_shuffled_labels_both_families_score_chance(demo: Path, tmp_path: Path):
    """Chance is a ROC-AUC of 0.5; 52 tags on 290 songs leave a macro mean within 0.03 of it."""
    axes = ["sizes=[1000]", "seeds=[0]", "synthesis=null"]
    overrides = ["data.labels=shuffled", f"corpus={demo / 'shards'}", *axes]
    subprocess.run(command(tmp_path, *overrides), cwd=ROOT, check=True, timeout=600)
    rows = read_results(Store(str(tmp_path))).values()
    assert len(rows) == 2
    for row in rows:
        print(f"{row.model}, shuffled labels: ROC-AUC {row.roc_auc:.4f}, PR-AUC {row.pr_auc:.4f}")
        assert row.roc_auc == pytest.approx(0.5, abs=0.03)
