"""The same settings on the same songs are the same run in every version: the ids are as version 0.1.0 gave them."""

from __future__ import annotations

import json

import pytest
from golden.write_run_ids import GOLDEN, RUNS, RUNS_ON_MIX, SWEEPS, find_ids

RECORD = json.loads(GOLDEN.read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    return find_ids(tmp_path_factory.mktemp("noise"))


@pytest.mark.parametrize("sweep", SWEEPS)
def test_runs_of_a_sweep_keep_their_ids(found: dict[str, dict], sweep: str):
    assert found["sweeps"][sweep] == RECORD["sweeps"][sweep]


@pytest.mark.parametrize(
    ("group", "run"), [*(("runs", run) for run in RUNS), *(("runs on a mix", run) for run in RUNS_ON_MIX)]
)
def test_a_run_keeps_its_id(found: dict[str, dict], group: str, run: str):
    assert found[group][run] == RECORD[group][run]


def test_every_id_of_the_record_is_checked_and_is_of_another_run():
    assert set(RECORD["sweeps"]) == set(SWEEPS)
    assert {**RECORD["runs"], **RECORD["runs on a mix"]}.keys() == {**RUNS, **RUNS_ON_MIX}.keys()
    ids = [*RECORD["runs"].values(), *RECORD["runs on a mix"].values()]
    assert len(set(ids)) == len(ids)
