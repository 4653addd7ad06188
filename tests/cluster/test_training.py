"""One run on Ray Train: two workers equal one, and a killed worker's run ends as if nothing had happened."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.processes import descendants
from helpers.toy_runs import score, train
from helpers.worlds import small_run

from genrescale.config import DataConfig, InitConfig, ModelConfig, OptimConfig, RunConfig, SiteConfig
from genrescale.data.manifest import Manifest
from genrescale.launch.train import launch_training
from genrescale.results import ResultRow, read_scores
from genrescale.storage.store import Store

pytestmark = pytest.mark.cluster
STEPS = 40
RESUMED = ([10], [20], [30])  # the first checkpoint that is seen, which may not be the last that is written
FIELDS = ("roc_auc", "pr_auc", "rmse", "val_loss")


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def undisturbed(ray_cluster: None, corpus: Manifest, parents: str) -> ResultRow:
    return launch_training(small_run(steps=STEPS), SiteConfig(corpus=corpus.uri, out=parents))


def metrics(row: ResultRow) -> list[float]:
    return [getattr(row, name) for name in FIELDS]


def test_a_finished_run_is_not_run_again(undisturbed: ResultRow, corpus: Manifest, parents: str):
    def written() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in Path(parents).rglob("*")}

    before = written()
    assert launch_training(small_run(steps=STEPS), SiteConfig(corpus=corpus.uri, out=parents)) == undisturbed
    assert written() == before


def kill_after_the_first_checkpoint(out: Path) -> list[int]:
    """The workers that will be killed once a checkpoint is there; empty until then."""
    killed: list[int] = []

    def watch() -> None:
        while not killed:
            if any("checkpoint_2" in text for text in _snapshots(out)):  # checkpoint_{date}
                workers = descendants(os.getpid(), "RayTrainWorker")
                for worker in workers:
                    worker.kill()
                killed.extend(worker.pid for worker in workers)
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()
    return killed


def _snapshots(out: Path) -> Iterator[str]:
    """Ray Train's list of checkpoints, which it replaces while we look."""
    for snapshot in out.glob("checkpoints/*/*/checkpoint_manager_snapshot.json"):
        with suppress(FileNotFoundError):
            yield snapshot.read_text()


@pytest.mark.soak
def test_a_stopped_run_continues_on_another_number_of_workers(undisturbed: ResultRow, corpus: Manifest, tmp_path: Path):
    killed = kill_after_the_first_checkpoint(tmp_path)
    run = small_run(steps=STEPS)
    with pytest.raises(Exception, match=r"(?i)worker"):
        launch_training(run, SiteConfig(corpus=corpus.uri, out=str(tmp_path), max_failures=0))
    assert len(killed) == 1
    row = launch_training(run, SiteConfig(corpus=corpus.uri, out=str(tmp_path), workers=2))
    assert (row.run_id, row.workers) == (undisturbed.run_id, 2)
    assert row.resumed_at in RESUMED
    assert metrics(row) == pytest.approx(metrics(undisturbed), abs=1e-5)


def test_two_workers_that_are_killed_resume_and_give_the_result_of_one(
    undisturbed: ResultRow, corpus: Manifest, tmp_path: Path
):
    killed = kill_after_the_first_checkpoint(tmp_path)
    row = launch_training(small_run(steps=STEPS), SiteConfig(corpus=corpus.uri, out=str(tmp_path), workers=2))
    assert len(killed) == 2
    assert (row.run_id, row.workers) == (undisturbed.run_id, 2)
    assert row.resumed_at in RESUMED
    assert undisturbed.resumed_at == []
    assert metrics(row) == pytest.approx(metrics(undisturbed), abs=1e-5)


@pytest.mark.usefixtures("process_group")
def test_a_run_starts_from_a_finished_run(undisturbed: ResultRow, corpus: Manifest, tmp_path: Path, parents: str):
    """The parent's model is its best checkpoint: all of it, not trained on, scores what the parent scored."""
    run = replace(small_run(steps=1), init=InitConfig(undisturbed.run_id, "all"))
    run.optim = replace(run.optim, lr=1e-12, freeze=["frontend", "backend.conv", "backend.residuals"])
    resolved, loop = train(run, corpus, Store(str(tmp_path)), parents=parents)
    assert resolved.ticket.run_id != undisturbed.run_id
    assert loop.fresh_weights == []
    assert loop.engine.num_params == undisturbed.num_params
    assert loop.state.best_loss == pytest.approx(undisturbed.val_loss, abs=0.05)
    found, _ = score(resolved, loop, Store(str(tmp_path)))
    assert found["roc_auc"] == pytest.approx(undisturbed.roc_auc, abs=0.05)
    assert found["rmse"] == pytest.approx(undisturbed.rmse, abs=0.05)


def test_a_diverging_run_says_so(ray_cluster: None, corpus: Manifest, tmp_path: Path):
    run = small_run(lr=1e9, steps=10)
    with pytest.raises(Exception, match="training diverged"):
        launch_training(run, SiteConfig(corpus=corpus.uri, out=str(tmp_path), max_failures=0))


@pytest.mark.soak
def test_a_run_of_tags_starts_from_a_pretraining(ray_cluster: None, corpus: Manifest, tmp_path: Path):
    """Pretraining leaves a result row without metrics of tags, and weights that a tagger takes, but for its head."""
    tiny = {"size": "tiny", "depth": 1, "position_frames": 96}
    data, optim = DataConfig(size=32, crop_s=1.0, batch=8, group=4), OptimConfig(max_steps=4, validate_every=2)
    run = RunConfig(model=ModelConfig("ssast_pretraining", tiny), data=data, optim=optim, loss="pretext")
    site = SiteConfig(corpus=corpus.uri, out=str(tmp_path))
    pretrained = launch_training(run, site)
    assert (pretrained.roc_auc, pretrained.accuracy, pretrained.unscored_tags) == (None, None, [])
    scores, names = read_scores(Store(site.out), f"runs/{pretrained.run_id}/scores.parquet")
    assert pretrained.pretext == pytest.approx(dict(zip(names, scores.score_NK.mean(axis=0), strict=True)))
    tagger = replace(run, model=ModelConfig("ssast", tiny), loss="bce", init=InitConfig(pretrained.run_id, "matching"))
    tuned = launch_training(tagger, SiteConfig(corpus=corpus.uri, out=str(tmp_path / "tuned"), parents=site.out))
    assert {name.partition(".")[0] for name in tuned.fresh_weights} == {"head", "head_norm"}
    assert tuned.pretext == {}
    assert tuned.roc_auc is not None
