"""What a training loop tells of itself agrees with what it did, and parts add up to the whole."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.toy_runs import shard_waves, train
from torch import nn

from genrescale.audio import SAMPLE_RATE, Tag, Vocabulary
from genrescale.config import DataConfig, ModelConfig, OptimConfig, RunConfig
from genrescale.data.manifest import Manifest
from genrescale.data.reading.plan import GroupId
from genrescale.data.reading.source import CropGroup
from genrescale.data.reading.spans import ReadStats
from genrescale.models import build_model, fixed_crop_len, full_dials, min_crop_len
from genrescale.storage.store import Store
from genrescale.telemetry.metric_table import METRICS, RANKED, STEP_PARTS, run_labels
from genrescale.telemetry.recorder import Recorder, recording
from genrescale.training.flops import clip_flops, device_flops_per_s
from genrescale.training.loop import TrainingLoop
from genrescale.training.observe import Attempt, RunObserver, Unobserved
from genrescale.training.state import RunState
from genrescale.training.step_clock import HostClock
from genrescale.training.timed import TimedGroups, wait_causes

pytestmark = pytest.mark.usefixtures("process_group")
RUN = RunConfig(
    model=ModelConfig("waveform", {"frontend_width": 0.125, "backend_filters": 32, "backend_units": 64}),
    data=DataConfig(size=12, crop_s=1.3, batch=4, group=2),
    optim=OptimConfig(max_steps=6, validate_every=3),
)
LABELS = {**run_labels("0123456789ab", "waveform", 12), "rank": "0"}


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    rng = np.random.default_rng(0)
    waves = [0.1 * rng.standard_normal(SAMPLE_RATE * 2) for _ in range(20)]
    labels = [{"rock": float(i % 2)} for i in range(20)]
    return shard_waves(tmp_path_factory.mktemp("songs"), waves, labels, Vocabulary((Tag("rock"),)))


@pytest.fixture(scope="module")
def observed(songs: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingLoop, Recorder, float]:
    """A loop after training, what it told, and its wall time."""
    own, began = Recorder("a", LABELS), time.perf_counter()
    with recording(own):
        _, loop = train(RUN, songs, Store(str(tmp_path_factory.mktemp("runs"))))
    return loop, own, time.perf_counter() - began


def told(own: Recorder, name: str, *more: str) -> float:
    report = own.report()
    labels = [value for label, value in LABELS.items() if label != "rank" or f"genrescale_{name}" in RANKED_NAMES]
    return {**report.counters, **report.gauges}[f"genrescale_{name}", (*labels, *more)]


RANKED_NAMES = {metric.name for metric in METRICS.values() if "rank" in metric.labels}


def test_counters_agree_with_the_state_of_the_run(observed: tuple[TrainingLoop, Recorder, float]):
    loop, own, _ = observed
    assert told(own, "steps_total") == loop.state.step == 6
    assert told(own, "clips_total") == loop.state.clips == 24
    assert told(own, "delivered_bytes_total") == loop.state.bytes_delivered > 0
    assert told(own, "fetched_bytes_total") == loop.state.bytes_fetched > 0
    assert told(own, "validation_score", "loss") == loop.state.curve[-1]["val_loss"]
    assert told(own, "train_loss") == loop.state.curve[-1]["train_loss"]
    assert told(own, "learning_rate") == loop.state.lr
    assert told(own, "restarts_total") == 0
    assert told(own, "nonfinite_losses_total") == 0
    assert told(own, "left_seconds") == 0
    assert told(own, "model_flops_total") > 0


def test_the_parts_of_a_steps_time_are_less_than_the_runs_and_none_is_forgotten(
    observed: tuple[TrainingLoop, Recorder, float],
):
    loop, own, wall_s = observed
    parts = {part: told(own, "step_seconds_total", part) for part in STEP_PARTS}
    assert 0 < sum(parts.values()) <= loop.state.seconds <= wall_s
    assert parts["collectives"] == 0  # of one worker
    assert all(parts[part] > 0 for part in STEP_PARTS if part != "collectives")


def test_activities_add_up_to_the_time_of_the_attempt(observed: tuple[TrainingLoop, Recorder, float]):
    _, own, wall_s = observed
    activities = {key[1][-1]: value for key, value in own.report().counters.items() if "run_seconds" in key[0]}
    assert activities["validate"] > 0
    assert activities["train"] > 0
    assert activities["rework"] == 0
    assert sum(activities.values()) <= wall_s
    # of the same time, but for the report at its end
    assert told(own, "device_seconds_total", "worker") == pytest.approx(sum(activities.values()), abs=0.5)


def test_a_loop_that_nobody_listens_to_has_no_observer(songs: Manifest, tmp_path: Path):
    _, loop = train(RUN, songs, Store(str(tmp_path)))
    assert type(loop.observer) is Unobserved
    assert loop.engine.clock.seconds() == {}


def observer_of(own: Recorder, loop: TrainingLoop, earlier_step: int | None = None) -> RunObserver:
    attempt = Attempt(time.time(), earlier_step)
    return RunObserver(own, loop.plan, 0, 1, torch.device("cpu"), HostClock(), attempt)


def test_steps_that_an_earlier_attempt_had_done_are_rework(observed: tuple[TrainingLoop, Recorder, float]):
    own, timed = Recorder("b", LABELS), TimedGroups[Any](iter(()))
    observer = observer_of(own, observed[0], earlier_step=5)
    observer.begins(RunState(step=3))
    for step in (4, 6):
        observer.look(RunState(step=step), timed, 0.5)
        time.sleep(0.01)
    observer.look(RunState(step=6), timed, 0.5)
    assert told(own, "run_seconds_total", "rework") > 0
    assert told(own, "run_seconds_total", "train") >= 0.01
    assert told(own, "steps_total") == 3  # of this attempt
    assert told(own, "restarts_total") == 1


def test_reads_that_were_repeated_are_counted(observed: tuple[TrainingLoop, Recorder, float]):
    id, song_n = GroupId("train", 0, 0), np.zeros(1, np.int64)
    wave_nT, labels_nK, read = np.zeros((1, 4), np.int16), np.zeros((1, 1), np.float32), ReadStats(0.2, 0.1, 0.1, 64, 3)
    timed = TimedGroups(iter([CropGroup(id, song_n, song_n, wave_nT, labels_nK, read)]))
    timed.take(id)
    own = Recorder("b", LABELS)
    observer_of(own, observed[0]).look(RunState(), timed, None)
    assert told(own, "storage_retries_total") == timed.stats.retries == 3
    assert told(own, "fetched_bytes_total") == 64
    assert told(own, "read_seconds_total", "fetch") == 0.2


def test_losses_that_are_no_number_are_counted(observed: tuple[TrainingLoop, Recorder, float]):
    own = Recorder("b", LABELS)
    observer = observer_of(own, observed[0])
    for loss in (0.5, math.nan, math.nan, math.inf, 0.5, math.inf):  # a mean that is none stays so: it counts once
        observer.checked(loss)
    assert told(own, "nonfinite_losses_total") == 2


@pytest.mark.parametrize("name", ["waveform", "spectrogram", "musicnn", "choi_fcn", "mtg_fcn", "timbre_cnn"])
def test_operations_of_models_of_waves_and_of_spectrograms_are_counted(name: str):
    dials = {"log_mel_mean": 0.0, "log_mel_std": 1.0} if "log_mel_mean" in full_dials(name, {}) else {}
    crop_len = fixed_crop_len(name, **dials) or max(min_crop_len(name, **dials), SAMPLE_RATE)
    assert clip_flops(build_model(name, 2, **dials), crop_len) > 1e6


@pytest.mark.parametrize("name", ["lstm", "crnn"])
def test_operations_of_a_recurrent_model_are_unknown(name: str):
    assert clip_flops(build_model(name, 2), 3 * SAMPLE_RATE) == 0


@pytest.mark.parametrize(
    ("ready_at", "expected"),
    [
        (95.0, {"storage": 0.0, "verify": 0.0, "copy": 0.0, "object_store": 2.0}),  # read long before it was asked for
        (99.0, {"storage": 0.6, "verify": 0.3, "copy": 0.1, "object_store": 1.0}),  # half of the wait was reading
        (200.0, {"storage": 1.2, "verify": 0.6, "copy": 0.2, "object_store": 0.0}),  # by the clock of another node
    ],
)
def test_a_wait_is_of_the_stages_until_its_group_is_read_and_of_the_object_store_after(
    ready_at: float, expected: dict[str, float]
):
    causes = wait_causes(2.0, 100.0, ready_at, ReadStats(fetch_s=6.0, verify_s=3.0, copy_s=1.0))
    assert causes == pytest.approx(expected)


def test_causes_of_waiting_add_up_to_the_wait():
    id = GroupId("train", 0, 0)
    song_n = np.zeros(1, np.int64)
    group = CropGroup(id, song_n, song_n, np.zeros((1, 4), np.int16), np.zeros((1, 1), np.float32))

    def slow():
        time.sleep(0.02)
        yield group

    timed = TimedGroups(slow())
    timed.take(id)
    assert sum(timed.wait_s_by_cause.values()) == pytest.approx(timed.stats.wait_s)
    assert timed.stats.wait_s >= 0.02


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(100, 10, bias=False)

    def forward(self, wave_BT: torch.Tensor) -> torch.Tensor:
        return self.dense(wave_BT)


def test_operations_are_counted_forward_and_backward():
    # two products of 100 x 10: forward, and the gradient of the weights; the input needs none
    assert clip_flops(Dense(), 100) == 2 * (2 * 100 * 10)


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 4, kernel_size=3, stride=2, bias=False)
        self.second = nn.Conv1d(4, 6, kernel_size=5, bias=False)
        self.dense = nn.Linear(6, 10, bias=False)

    def forward(self, wave_BT: torch.Tensor) -> torch.Tensor:
        return self.dense(self.second(self.first(wave_BT[:, None])).mean(dim=-1))


def test_operations_of_convolutions_equal_a_count_by_hand():
    """Multiply and add are two. Backward costs as much for the weights, and again for the input, but for the wave."""
    first = 2 * 50 * (1 * 3) * 4  # 101 samples, kernel 3, stride 2: 50 places
    second, dense = 2 * 46 * (4 * 5) * 6, 2 * 6 * 10
    assert clip_flops(Convolved(), 101) == 2 * first + 3 * second + 3 * dense


def test_a_model_that_cannot_be_counted_is_no_error():
    class Odd(Dense):
        def forward(self, wave_BT: torch.Tensor) -> torch.Tensor:
            return self.dense(wave_BT) * float(wave_BT.sum())

    assert clip_flops(Odd(), 100) == 0


def test_a_device_has_a_rate():
    assert device_flops_per_s(torch.device("cpu"), "fp32") > 1e8


def test_the_metrics_of_a_rank_are_known():
    assert RANKED == ("trial", "family", "size", "rank")
