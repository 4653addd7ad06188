"""A change that makes finished runs worthless is told by its keys, and what stays is not mentioned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sweeps import make_trial, write_run

from genrescale.changes import DATA_CHANGED, describe_outdated, outdated
from genrescale.data.store import Store
from genrescale.results import PlannedTrial, write_planned

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


def test_a_folder_without_a_sweep_holds_nothing(tmp_path: Path):
    assert outdated(Store(str(tmp_path / "new")), PLAN) == {}
