"""A change that makes finished runs worthless is told by its keys, and what stays is not mentioned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from helpers.job_runs import Ended, run
from helpers.small_corpus import SETTINGS, contents, make_song, shard_here
from helpers.sweeps import make_trial, write_run

from genrescale.config import SiteConfig
from genrescale.launch.sweep import SweepOutcome, Trial, planned_trials
from genrescale.results import PlannedTrial, read_result, write_planned
from genrescale.results.changes import DATA_CHANGED, describe_outdated, outdated, show_outdated
from genrescale.storage.store import Store

PLAN = [make_trial("waveform", size, seed) for size in (100, 400) for seed in (0, 1)]


@pytest.fixture
def files(tmp_path: Path) -> Store:
    files = Store(str(tmp_path))
    write_planned(files, PLAN)
    for trial in PLAN[:3]:
        write_run(files, trial)
    return files


def changed(trial: PlannedTrial, **optim: Any) -> PlannedTrial:
    config = {**trial.config, "optim": {**trial.config["optim"], **optim}}
    return replace(trial, run_id=f"new{trial.run_id}", config=config)


def test_the_same_plan_and_a_larger_one_make_nothing_worthless(files: Store):
    assert outdated(files, PLAN) == {}
    assert outdated(files, [*PLAN, make_trial("waveform", 1600, 0)]) == {}
    assert outdated(files, PLAN[:1]) == {}


def test_a_changed_key_is_named_with_both_values_for_every_finished_run(files: Store):
    found = outdated(files, [changed(trial, max_steps=900, clip_norm=1.0) for trial in PLAN])
    assert set(found) == {trial.run_id for trial in PLAN[:3]}  # the fourth has not finished
    assert found[PLAN[0].run_id] == ["optim.clip_norm 0.0 -> 1.0", "optim.max_steps 600 -> 900"]
    text = describe_outdated(found)
    assert "3 finished run(s) are not of this sweep any more" in text
    assert "optim.max_steps 600 -> 900: 3 finished run(s)" in text


def test_the_same_config_on_other_data_says_data(files: Store):
    found = outdated(files, [replace(trial, run_id=f"new{trial.run_id}") for trial in PLAN])
    assert set(map(tuple, found.values())) == {(DATA_CHANGED,)}


def test_a_change_is_refused_with_what_it_costs_and_how_to_go_on(files: Store, capsys: pytest.CaptureFixture[str]):
    planned = [changed(trial, max_steps=900) for trial in PLAN]
    with pytest.raises(ValueError, match=r"holds these runs; add rerun=true to run them anew, take another out="):
        show_outdated(files, planned, allowed=False)
    told = capsys.readouterr().err
    assert told.splitlines() == [
        "3 finished run(s) are not of this sweep any more, because these changed:",
        "  optim.max_steps 600 -> 900: 3 finished run(s)",
    ]
    show_outdated(files, planned, allowed=True)
    assert capsys.readouterr().err == told
    show_outdated(files, PLAN, allowed=False)
    assert capsys.readouterr().err == ""


@dataclass
class Sweeps:
    """The job on a corpus of its own; what it would train is counted and finishes at once."""

    folder: Path
    trained: list[list[str]] = field(default_factory=list)

    def run_sweep(self, trials: Sequence[Trial], site: SiteConfig) -> SweepOutcome:
        files = Store(site.out)
        missing = [trial for trial in trials if read_result(files, trial.run_id) is None]
        self.trained.append([trial.run_id for trial in missing])
        write_planned(files, planned_trials(trials))
        for planned in planned_trials(missing):
            write_run(files, planned)
        return SweepOutcome({}, {}, [], len(trials) - len(missing))

    def job(self, *overrides: str) -> Ended:
        axes = ["sizes=[4,8]", "families=[waveform]", "seeds=[0,1]", "seeds_below_largest=0"]
        recipe = ["sweep=demo", "synthesis=null", "data.batch=4", "data.group=4"]
        places = [f"corpus={self.folder}/out", f"out={self.folder}/sweep"]
        return run("scale_sweep", *recipe, *axes, *places, *overrides)


@pytest.fixture
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweeps:
    songs = [make_song(tmp_path, i) for i in range(20)]
    shard_here(songs, Store(str(tmp_path / "out")), settings=replace(SETTINGS, test_fraction=0.2))
    sweeps = Sweeps(tmp_path)
    monkeypatch.setattr("genrescale.launch.search.stages.run_sweep", sweeps.run_sweep)
    monkeypatch.setattr("genrescale.report.write_report", lambda *_: None)
    monkeypatch.setattr("genrescale.report.format_table", lambda report: "")
    monkeypatch.setattr("genrescale.launch.cluster._init", lambda *_: None)  # without a cluster
    monkeypatch.setattr("genrescale.launch.cluster.cluster_nodes", lambda: [{"CPU": 4.0}])
    return sweeps


def test_the_job_shows_a_change_and_runs_nothing_until_rerun_is_said(sweeps: Sweeps):
    assert sweeps.job().returncode == 0
    before = contents(sweeps.folder / "sweep")
    refused = sweeps.job("optim.max_steps=200", "loss=bce")
    assert refused.returncode == 2
    assert "4 finished run(s) are not of this sweep any more" in refused.stderr
    for change in ("optim.max_steps 320 -> 200", "loss by_kind -> bce"):
        assert f"  {change}: 4 finished run(s)\n" in refused.stderr
    assert refused.stderr.count("->") == 2
    assert f"{sweeps.folder}/sweep holds these runs; add rerun=true" in refused.stderr
    listed = sweeps.job("optim.max_steps=200", "dry_run=true")
    assert listed.returncode == 0
    assert "optim.max_steps 320 -> 200: 4 finished run(s)" in listed.stderr
    assert listed.stdout.count("to run") == 4
    assert [len(ids) for ids in sweeps.trained] == [4]
    assert contents(sweeps.folder / "sweep") == before
    again = sweeps.job("optim.max_steps=200", "rerun=true")
    assert again.returncode == 0
    assert "optim.max_steps 320 -> 200: 4 finished run(s)" in again.stderr
    assert [len(ids) for ids in sweeps.trained] == [4, 4]
    assert not set(sweeps.trained[0]) & set(sweeps.trained[1])


def test_the_job_asks_for_nothing_where_finished_runs_stay_what_they_are(sweeps: Sweeps):
    assert sweeps.job().returncode == 0
    for more in (["sizes=[4,8,9]"], ["seeds=[0,1,2]", "site.threads=2"]):
        ended = sweeps.job(*more)
        assert ended.returncode == 0, ended.stderr
        assert "not of this sweep" not in ended.stderr
    assert [len(ids) for ids in sweeps.trained] == [4, 2, 2]


def test_a_folder_without_a_sweep_holds_nothing(tmp_path: Path):
    assert outdated(Store(str(tmp_path / "new")), PLAN) == {}
