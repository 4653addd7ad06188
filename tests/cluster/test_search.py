"""A search on real Ray: what is stopped makes room at once, the best values are scaled, and a killed one continues."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from helpers.job_runs import RunJob
from helpers.sweeps import ONE_SIZE

from genrescale.data.manifest import Manifest
from genrescale.results import read_planned, read_results
from genrescale.results.search import FINISHED, OVER, STOPPED, SearchTrial, read_search
from genrescale.storage.store import Store

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
SEARCH = [
    *(*ONE_SIZE, "families=[waveform]", "optim.validate_every=4", "optim.patience_steps=0"),
    *("search.algorithm=asha", "search.first_rung=4", "search.trials=2"),
]
LR = "search.space.lr=choice(0.09,0.0024)"
"""The first draw is the small rate; of two at a rung the better one goes on, and the large rate is far worse."""


@dataclass
class Seen:
    """What happened to placement groups, in order: ``stopped``, ``freed`` (those of the stopped trial), ``next``."""

    events: list[str] = field(default_factory=list)
    _watching: list[threading.Thread] = field(default_factory=list)

    def stopped(self) -> None:
        self.events.append("stopped")
        thread = threading.Thread(target=self._until_freed, args=(held_groups(),), daemon=True)
        thread.start()
        self._watching.append(thread)

    def _until_freed(self, groups: set[str]) -> None:
        assert groups
        while groups & held_groups():
            time.sleep(0.1)
        self.events.append("freed")

    def result(self) -> None:
        if "stopped" in self.events and "next" not in self.events:
            self.events.append("next")


def held_groups() -> set[str]:
    from ray.util import placement_group_table

    return {id for id, group in placement_group_table().items() if group["state"] in ("CREATED", "PENDING")}


@dataclass(frozen=True)
class Searched:
    out: Path
    printed: str
    seen: Seen

    @property
    def files(self) -> Store:
        return Store(str(self.out))

    @property
    def trials(self) -> list[SearchTrial]:
        return read_search(self.files)


@pytest.fixture(scope="module")
def found(job: RunJob, corpus: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """Two trials of two workers, of which one is stopped, and the grid with the best rate."""
    from genrescale.launch.search.tuning import Steward
    from genrescale.launch.watch import Watch

    out, seen = tmp_path_factory.mktemp("search"), Seen()
    decide, heard = Steward.on_trial_result, Watch.on_trial_result

    def decided(self: Steward, controller: object, trial: object, result: dict) -> str:
        if (decision := decide(self, controller, trial, result)) == "STOP":
            seen.stopped()
        else:
            seen.result()
        return decision

    def watched(self: Watch, iteration: int, trials: list, trial: object, result: dict, **info: object) -> None:
        if self._trials[trial.config["run_id"]].planned[0].axis != "search":  # type: ignore[attr-defined]
            seen.result()
        heard(self, iteration, trials, trial, result, **info)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Steward, "on_trial_result", decided)
        patch.setattr(Watch, "on_trial_result", watched)
        ended = job(
            "scale_sweep", *SEARCH, LR, "search.then=scale", "site.workers=2", f"corpus={corpus.uri}", f"out={out}"
        )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return Searched(out, ended.stdout, seen)


def test_the_placement_group_of_a_stopped_trial_is_free_before_the_next_run_reports(found: Searched):
    assert found.seen.events == ["stopped", "freed", "next"]


def test_the_worse_trial_is_stopped_at_its_rung_with_its_cost_and_reason(found: Searched):
    best, worse = found.trials
    assert (best.status, best.steps, best.values) == (FINISHED, 12, {"optim.lr": 0.0024})
    assert (worse.status, worse.steps, worse.values) == (STOPPED, 4, {"optim.lr": 0.09})
    assert worse.reason == "not among the best 1 of 2 that had reached step 4 by then"
    assert best.seconds > 0 < worse.seconds
    assert not (found.out / "runs" / worse.run_id / "live.json").exists()
    assert "search: 2 trials, 1 finished, 1 stopped; 16 steps of at most 24" in found.printed


def test_the_grid_has_the_best_rate_and_no_searched_run(found: Searched):
    (grid,) = read_planned(found.files)
    assert (grid.axis, grid.lr, grid.seed) == ("grid", 0.0024, 0)
    rows, searched = read_results(found.files), {trial.run_id for trial in found.trials}
    assert grid.run_id not in searched
    assert set(rows) == {grid.run_id, found.trials[0].run_id}
    assert (found.out / "table.csv").read_text().splitlines()[1].startswith("waveform,40,1,1,")


def test_the_report_lists_the_trials_with_why_they_ended(found: Searched):
    page = (found.out / "report.html").read_text()
    assert '<section id="search">' in page
    for trial in found.trials:
        assert f'data-run="{trial.run_id}" data-status="{trial.status}"' in page
    assert "stopped: not among the best 1 of 2" in page
    assert (found.out / "search.csv").read_text().count("\n") == 3


def test_the_same_command_does_nothing_again(found: Searched, job: RunJob, corpus: Manifest):
    written = {path: path.stat().st_mtime_ns for path in found.out.glob("runs/*/result.json")}
    again = job(
        "scale_sweep", *SEARCH, LR, "search.then=scale", "site.workers=2", f"corpus={corpus.uri}", f"out={found.out}"
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert {path: path.stat().st_mtime_ns for path in found.out.glob("runs/*/result.json")} == written
    assert "1 runs, 1 of them from before" in again.stdout


@pytest.mark.soak
@pytest.mark.parametrize("algorithm", ["asha", "optuna"])
def test_a_killed_search_continues_and_repeats_no_finished_trial(
    algorithm: str, job: RunJob, corpus: Manifest, tmp_path: Path
):
    out, rungs = tmp_path / "search", [] if algorithm == "optuna" else ["search.first_rung=4"]
    settings = [f"search.algorithm={algorithm}", *rungs, "search.trials=4", "search.space.lr=log(1e-4,1e-1)"]
    base = [name for name in SEARCH if not name.startswith("search.")]
    command = [*base, *settings, f"corpus={corpus.uri}", f"out={out}"]
    with (tmp_path / "log").open("w") as log:
        killed = subprocess.Popen(
            [sys.executable, "jobs/scale_sweep.py", *command], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
        while not sum(trial.status in OVER for trial in read_search(Store(str(out)))) >= 2:
            assert killed.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    before = {trial.run_id: trial for trial in read_search(Store(str(out)))}
    written = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/result.json")}
    again = job("scale_sweep", *command)
    assert again.returncode == 0, again.stdout + again.stderr
    after = {trial.run_id: trial for trial in read_search(Store(str(out)))}
    assert len(after) == 4
    assert all(trial.status in OVER for trial in after.values())
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())
    for id, trial in before.items():
        assert after[id].values == trial.values, "begun trials keep their values"
        assert trial.status not in OVER or after[id] == trial, "what was over stays as it was"
        assert trial.rungs.items() <= after[id].rungs.items()
