"""What a sweep will take is told before it starts, and nothing is started for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.sweeps import make_row

from genrescale.config import DataConfig, OptimConfig, SiteConfig
from genrescale.config.sweep import SweepConfig
from genrescale.data.manifest import Manifest
from genrescale.launch import cluster, estimate
from genrescale.launch.listing import foretell, format_trials
from genrescale.launch.sweep import Trial, plan_trials
from genrescale.models import build_model
from genrescale.results import write_result
from genrescale.storage.store import Store
from genrescale.training.measure import StepCost, measure_step

NODES = [{"CPU": 4.0, "GPU": 0.0}]
SMALL = {"frontend_width": 0.125, "backend_filters": 8, "backend_units": 8}
COST = StepCost(clips_per_s=10.0, clip_bytes=1e8, num_params=50_000_000)


@pytest.fixture
def trials(corpus: Manifest, tmp_path: Path) -> list[Trial]:
    sweep = SweepConfig(
        sizes=[40], seeds=[0, 1], data=DataConfig(crop_s=3.0, batch=8, group=4), optim=OptimConfig(max_steps=1000)
    )
    return plan_trials(sweep, SiteConfig(corpus=corpus.uri, out=str(tmp_path)), corpus)


@pytest.fixture(autouse=True)
def _measured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "real_steps" not in request.fixturenames:
        monkeypatch.setattr(estimate, "measure_step", lambda *_: COST)


@pytest.fixture
def real_steps() -> None:
    """Steps are measured in this test."""


def site_of(trials: list[Trial]) -> SiteConfig:
    return trials[0].ticket.site


def text_of(trials: list[Trial], site: SiteConfig | None = None, gpu_here: bool = False) -> str:
    return estimate.estimate_text(trials, site or site_of(trials), 50, 1000, 2, gpu_here)


def test_hours_disk_and_memory_follow_from_a_measured_rate(trials: list[Trial]) -> None:
    """4 runs of 8,000 crops and 3 passes over 18 + 18 windows, two at a time, at 10 clips a second."""
    windows = 2 * 18 + 18
    seconds = 4 * (8_000 / 10 + windows / 3 / 10 + 40) / 2
    time, space = text_of(trials).splitlines()
    assert time.startswith(f"About {estimate.format_duration(seconds)} for 4 runs, with the start of each (")
    assert "waveform 10 clips/s, measured here; spectrogram 10 clips/s, measured here" in time
    assert "about 4.0 GB of checkpoints" in space  # 4 runs, 5 copies of 50 million weights
    assert "about 1.2 GB of memory" in space  # 4 copies, and the activations of 4 clips


def test_a_group_that_this_machine_cannot_hold_is_told(trials: list[Trial]) -> None:
    small, large = (
        estimate.estimate_text(trials, site_of(trials), 50, 1000, 2, False, memory) for memory in (4e9, 6e9)
    )
    assert "[check] That is more than this machine has for it, 2.0 GB" in small  # half of it: two runs at a time
    assert "[check]" not in large


def test_finished_runs_tell_the_rate_and_are_not_counted(trials: list[Trial]) -> None:
    files, first = Store(site_of(trials).out), trials[0]
    write_result(
        files, replace(make_row(first.planned[0]), clips_per_s=100.0, seconds_total=60.0, seconds_training=50.0)
    )
    (line, _) = text_of(trials).splitlines()
    assert "for 3 runs" in line
    assert "waveform 100 clips/s, as its finished runs" in line
    assert estimate.estimate_text(trials[:1], site_of(trials), 50, 1000, 2, False) == "All runs have finished."


def test_what_cannot_be_measured_here_is_said(trials: list[Trial]) -> None:
    on_gpus = replace(site_of(trials), use_gpu=True)
    assert text_of(trials, on_gpus).startswith("How long spectrogram, waveform takes cannot be told here")
    assert text_of(trials, on_gpus, gpu_here=True).startswith("About ")


def test_a_dry_run_lists_the_runs_and_what_they_take_without_ray(
    trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(cluster, "connect", None)  # a call would fail
    nodes = cluster.nodes_ahead(6)
    assert nodes[0]["CPU"] == 6
    listed = format_trials(trials, site_of(trials), nodes)
    assert "with the start of each" in listed
    assert listed.count("to run") == 4


def test_much_work_is_foretold_where_it_starts_and_little_is_not_measured(
    trials: list[Trial], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("genrescale.launch.listing.cluster_nodes", lambda: [{"CPU": 6.0}])
    foretell(trials, site_of(trials))
    assert capsys.readouterr().err == ""
    foretell([replace(trial, clips=100_000) for trial in trials], site_of(trials))
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("[check] ") for line in lines)
    assert "for 4 runs, with the start of each" in lines[0]
    assert "of memory" in lines[1]


@pytest.mark.usefixtures("real_steps")
def test_a_step_is_measured_in_a_moment_and_leaves_the_threads_as_they_were(trials: list[Trial]) -> None:
    before = torch.get_num_threads()
    run = trials[0].run
    cost = measure_step(replace(run, model=replace(run.model, dials={**run.model.dials, **SMALL})), 5, 1, False)
    assert torch.get_num_threads() == before
    assert cost.clips_per_s > 0
    assert cost.num_params == sum(w.numel() for w in build_model("waveform", 5, **run.model.dials | SMALL).parameters())
    # every layer's input is kept for the backward pass: at least the waveform itself, at most a thousand times it
    assert 48_000 * 4 < cost.clip_bytes < 48_000 * 4_000
