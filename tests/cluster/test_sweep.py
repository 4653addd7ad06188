"""The whole sweep on real Ray: its numbers recompute, it resumes after a kill, and it says what it cannot do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.job_runs import RunJob
from sklearn.metrics import average_precision_score, roc_auc_score

from genrescale.data.manifest import Manifest, read_manifest
from genrescale.results import read_planned, read_results, read_scores, run_folder
from genrescale.storage.store import Store

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
METRICS = ("roc_auc", "pr_auc", "rmse", "val_loss")
TINY = [
    "sweep=demo",
    "sizes=[40]",
    "seeds=[0]",
    "synthesis=null",
    "data.batch=8",
    "data.group=4",
    "optim.max_steps=6",
    "optim.validate_every=3",
]


def settings(corpus: Manifest, out: Path, *overrides: str) -> list[str]:
    return [*TINY, f"corpus={corpus.uri}", f"out={out}", *overrides]


def table_of(out: Path) -> str:
    return (out / "table.csv").read_text()


@pytest.fixture(scope="module")
def finished(job: RunJob, corpus: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("sweep")
    ended = job("scale_sweep", *settings(corpus, out))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return out, ended.stdout


def test_every_planned_run_has_a_row_and_a_score_table(finished: tuple[Path, str], corpus: Manifest):
    files = Store(str(finished[0]))
    rows = read_results(files)
    planned = read_planned(files)
    assert {trial.run_id for trial in planned} == set(rows)
    assert len(rows) == 2  # one of each family
    for id in rows:
        scores, _ = read_scores(files, f"{run_folder(id)}/scores.parquet")
        assert scores.keys == corpus.songs["key"].take(corpus.select("test")).to_pylist()


def test_the_rows_metrics_are_scikit_learns(finished: tuple[Path, str], corpus: Manifest):
    files = Store(str(finished[0]))
    classify = corpus.vocabulary.classify_K
    for id, row in read_results(files).items():
        scores, _ = read_scores(files, f"{run_folder(id)}/scores.parquet")
        true, score = scores.true_NK[:, classify], scores.score_NK[:, classify]
        both = (true.min(axis=0) == 0) & (true.max(axis=0) == 1)
        assert row.roc_auc == pytest.approx(roc_auc_score(true[:, both], score[:, both], average="macro"), abs=1e-12)
        expected = average_precision_score(true[:, both], score[:, both], average="macro")
        assert row.pr_auc == pytest.approx(expected, abs=1e-12)
        error = scores.true_NK[:, ~classify] - scores.score_NK[:, ~classify]
        assert row.rmse == pytest.approx(float(np.sqrt(np.square(error).mean())), abs=1e-9)


def test_the_printed_table_and_the_page_hold_the_rows(finished: tuple[Path, str]):
    out, printed = finished
    page = (out / "report.html").read_text()
    for trial in read_planned(Store(str(out))):
        row = read_results(Store(str(out)))[trial.run_id]
        if trial.axis == "grid":
            assert f"{row.pr_auc:.4f}" in printed
            assert f"{row.pr_auc:.4f}" in page
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_deleted_row_is_missing_in_the_report_and_alone_run_again(
    job: RunJob, finished: tuple[Path, str], corpus: Manifest, tmp_path: Path
):
    out = tmp_path / "sweep"
    shutil.copytree(finished[0], out)
    before = table_of(out)
    id = next(t.run_id for t in read_planned(Store(str(out))) if t.axis == "grid")
    written = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/result.json")}
    (out / "runs" / id / "result.json").unlink()
    assert job("report", f"out={out}").returncode == 0
    assert "missing" in (out / "report.html").read_text()
    assert table_of(out) != before
    again = job("scale_sweep", *settings(corpus, out))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "1 of them from before" in again.stdout
    assert table_of(out) == before
    untouched = [path for path in written if path.parent.name != id]
    assert all(path.stat().st_mtime_ns == written[path] for path in untouched)


@pytest.mark.soak
def test_a_killed_sweep_continues_and_ends_with_the_same_rows(
    job: RunJob, finished: tuple[Path, str], corpus: Manifest, tmp_path: Path
):
    out = tmp_path / "sweep"
    smaller = settings(corpus, out)
    log = (tmp_path / "log").open("w")
    command = [sys.executable, "jobs/scale_sweep.py", *smaller]
    killed = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    while not (first := list(out.glob("runs/*/result.json"))):
        assert killed.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    written = {path: path.stat().st_mtime_ns for path in first}
    again = job("scale_sweep", *smaller)
    assert again.returncode == 0, again.stdout + again.stderr
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())
    rows, undisturbed = read_results(Store(str(out))), read_results(Store(str(finished[0])))
    assert {row.model for row in rows.values()} == {"waveform", "spectrogram"}
    for id, row in rows.items():
        assert [getattr(row, name) for name in METRICS] == [getattr(undisturbed[id], name) for name in METRICS]


def test_a_damaged_shard_fails_its_runs_with_the_song_and_leaves_the_others(
    job: RunJob, corpus: Manifest, tmp_path: Path
):
    shutil.copytree(corpus.uri, tmp_path / "corpus")
    copy = read_manifest(str(tmp_path / "corpus"))
    row = corpus.select("train", 40)[-1]  # in size 40, not in size 8
    assert row not in corpus.select("train", 8)
    shard = Path(copy.uri, corpus.shard_name(int(corpus.column("shard")[row])))
    data = bytearray(shard.read_bytes())
    start, length = int(corpus.column("offset")[row]), int(corpus.column("num_samples")[row]) * 2
    data[start : start + length] = bytes(b ^ 255 for b in data[start : start + length])
    shard.write_bytes(data)
    out = tmp_path / "sweep"
    ended = job("scale_sweep", *settings(copy, out, "families=[waveform]", "sizes=[8,40]", "site.max_failures=0"))
    assert ended.returncode == 1, ended.stdout + ended.stderr
    failures = json.loads((out / "failures.json").read_text())
    key = corpus.songs["key"][int(row)].as_py()
    assert len(failures) == 1
    assert f"song {key} does not match its checksum" in failures[0]["error"]
    assert [row.size for row in read_results(Store(str(out))).values()] == [8]


def test_a_dry_run_lists_and_starts_nothing(job: RunJob, corpus: Manifest, tmp_path: Path):
    listed = job("scale_sweep", *settings(corpus, tmp_path / "sweep", "dry_run=true"))
    assert listed.returncode == 0, listed.stderr
    assert "2 runs" in listed.stdout
    assert "to run" in listed.stdout
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sizes=[8,4000]"], "4000 train songs were asked for"),
        (["+dials.waveform.frontend_layers=9"], "needs crops of 11.07 s or more; crop_s is 3.0"),
        (["site.workers=3"], "too few for 3 workers"),
        (["site.cpus_per_worker=4"], "one trial needs 4.51 CPUs"),
    ],
)
def test_what_cannot_work_is_refused_before_it_starts(
    job: RunJob, corpus: Manifest, tmp_path: Path, overrides: list[str], message: str
):
    ended = job("scale_sweep", *settings(corpus, tmp_path / "sweep", *overrides))
    assert ended.returncode == 2
    assert message in ended.stderr
    assert len([line for line in ended.stderr.splitlines() if line.startswith("scale_sweep:")]) == 1


def test_two_logical_cpus_are_enough(near: Store):
    assert len(read_results(near)) == 2
