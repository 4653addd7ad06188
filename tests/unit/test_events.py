"""Event files of TensorBoard say what a run's curve and scores say, and never end a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from genrescale.audio import Vocabulary
from genrescale.config import AugmentConfig, DataConfig, ModelConfig, OptimConfig, RunConfig
from genrescale.data.reading.plan import GroupId
from genrescale.data.reading.source import CropGroup
from genrescale.results import ScoreTable
from genrescale.storage.store import Store
from genrescale.training.event_pictures import clips_picture, mistakes_table, worst_songs
from genrescale.training.events import RunEvents, events_folder, shown_groups

ID = "0a1b2c3d4e5f"
RUN = RunConfig(ModelConfig("spectrogram"), DataConfig(size=100), OptimConfig(lr=0.01), seed=3)
STREAMS = [{"seconds": 10.0, "clips": 320, "wait_s": 1.0}, {"seconds": 10.0, "clips": 160, "wait_s": 3.0}]
CLASSES = Vocabulary.of_classes(["blues", "jazz", "rock"], exclusive=True)


def line(step: int) -> dict[str, float | None]:
    return {"step": step, "epoch": step / 10, "lr": 0.01, "train_loss": 1 / step, "val_loss": 2 / step} | {
        "val_pr_auc": 0.4,
        "val_accuracy": None,
    }


def group(kind: Any = "train", n: int = 4) -> CropGroup:
    wave_nT = np.random.default_rng(0).integers(-9000, 9000, (n, 16_000), dtype=np.int16)
    return CropGroup(
        GroupId(kind, 0, 0), np.arange(n), np.zeros(n, int), wave_nT, np.eye(3, dtype=np.float32)[np.arange(n) % 3]
    )


def table(scores: list[list[float]], true: list[int]) -> ScoreTable:
    keys = [f"song {i}" for i in range(len(true))]
    true_NK = np.eye(3, dtype=np.float32)[true]
    return ScoreTable(keys, [1] * len(true), [False] * len(true), true_NK, np.array(scores))


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "audio": 0, "scalars": 0, "tensors": 0})
    return accumulator.Reload()


def loud(song: int, seconds: float) -> np.ndarray:
    return np.full(round(seconds * 16_000), 1000 * (song + 1), np.int16)


def test_a_run_is_in_one_folder_with_a_name_to_read(tmp_path: Path):
    own = replace(RUN, model=ModelConfig("mypackage.models:My/Tagger"))
    assert events_folder(ID, RUN) == f"runs/{ID}/events/spectrogram-100-lr0.01-seed3"
    assert events_folder(ID, own) == f"runs/{ID}/events/mypackage.models_My_Tagger-100-lr0.01-seed3"


def test_scalars_are_those_of_the_curve_and_the_streams(tmp_path: Path):
    with RunEvents(Store(str(tmp_path)), ID, RUN) as events:
        events.live(5, 0.5, STREAMS)
        events.validated(line(10), STREAMS)
        events.validated(line(20), STREAMS)
    seen = read(tmp_path / events_folder(ID, RUN))
    values = {tag: [(s.step, pytest.approx(s.value)) for s in seen.Scalars(tag)] for tag in seen.Tags()["scalars"]}
    assert values == {
        "live/train_loss": [(5, 0.5)],
        "live/clips_per_s": [(5, 48.0)],
        "live/wait_share": [(5, 0.2)],
        "loss/train": [(10, 0.1), (20, 0.05)],
        "loss/validation": [(10, 0.2), (20, 0.1)],
        "validation/pr_auc": [(10, 0.4), (20, 0.4)],
        "schedule/lr": [(10, 0.01), (20, 0.01)],
        "schedule/epoch": [(10, 1.0), (20, 2.0)],
        "stream/clips_per_s": [(10, 48.0), (20, 48.0)],
        "stream/wait_share": [(10, 0.2), (20, 0.2)],
    }


def test_an_attempt_that_continues_takes_back_what_the_one_before_it_wrote_later(tmp_path: Path):
    with RunEvents(Store(str(tmp_path)), ID, RUN) as events:
        for step in (10, 20, 30):
            events.validated(line(step), [])
    with RunEvents(Store(str(tmp_path)), ID, RUN) as events:
        events.begin(20)
        events.validated(line(30) | {"train_loss": 7.0}, [])
    seen = read(tmp_path / events_folder(ID, RUN)).Scalars("loss/train")
    assert [(s.step, round(s.value, 3)) for s in seen] == [(10, 0.1), (20, 0.05), (30, 7.0)]


def test_the_end_has_settings_scores_confusions_and_the_worst_mistakes_to_hear(tmp_path: Path):
    scores = table([[0.9, 0.1, 0.0], [0.8, 0.1, 0.1], [0.5, 0.1, 0.4], [0.2, 0.3, 0.5]], [0, 1, 2, 2])
    with RunEvents(Store(str(tmp_path)), ID, RUN) as events:
        events.outcome(50, {"pr_auc": 0.7, "accuracy": None}, scores, CLASSES, loud)
    seen = read(tmp_path / events_folder(ID, RUN))
    assert seen.Tags()["images"] == ["test/confusion"]
    assert seen.Tags()["audio"] == ["worst/1", "worst/2"]
    assert seen.Scalars("test/pr_auc")[0].value == pytest.approx(0.7)
    (sound,) = seen.Audio("worst/1")
    assert (sound.sample_rate, sound.length_frames) == (16_000, 160_000)
    (settings,) = [c for c in seen.summary_metadata.values() if c.plugin_data.plugin_name == "hparams"][:1] or [None]
    assert settings is not None


def test_a_bucket_gets_the_files_at_each_validation():
    """fsspec's own store in memory stands for it."""
    files = Store("memory://events-of-a-bucket")
    with RunEvents(files, ID, RUN) as events:
        events.live(5, 0.5, STREAMS)
        assert files.list("runs") == []
        events.validated(line(10), STREAMS)
        (path,) = files.list("runs")
        assert path.startswith(f"{events_folder(ID, RUN)}/events.out.tfevents.")
        before = files.size(path)
        events.live(15, 0.4, STREAMS)
    assert files.size(path) > before


def test_the_first_training_group_is_drawn_and_every_group_goes_through(tmp_path: Path):
    groups = [group("validation"), group(), group()]
    drawn: list[CropGroup] = []
    assert list(shown_groups(iter(groups), drawn.append)) == groups
    assert drawn == [groups[1]]
    with RunEvents(Store(str(tmp_path)), ID, RUN) as events:
        events.began(groups[1])
    (image,) = read(tmp_path / events_folder(ID, RUN)).Images("clips")
    assert (image.height, image.width) == (3 * 96 + 2 * 4, 63)


def test_augmented_clips_stand_beside_the_clips_and_no_noise_is_taken_from_training():
    run = replace(RUN, augment=AugmentConfig(gain_db=6.0, mixup_alpha=0.4, spec_augment="median"))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    picture = clips_picture(group(), run)
    assert torch.equal(torch.rand(3), expected)
    assert picture.shape == (3 * 96 + 2 * 4, 2 * 63 + 4, 3)
    left, right = picture[:, :63], picture[:, 67:]
    assert not np.array_equal(left, right)
    assert np.array_equal(clips_picture(group(), run), picture)


def test_the_worst_songs():
    scores = table([[0.9, 0.1, 0], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2], [0.1, 0.9, 0]], [0, 0, 2, 2])
    assert worst_songs(scores.true_NK, scores.score_NK, exclusive=True) == [3, 1, 2]
    assert worst_songs(scores.true_NK, scores.score_NK, exclusive=False)[0] == 3
    many = table([[0.9, 0.1, 0]] * 50, [2] * 50)
    assert len(worst_songs(many.true_NK, many.score_NK, exclusive=True)) == 4


def test_names_are_no_markup():
    scores = replace(table([[0.9, 0.1, 0.0]], [1]), keys=["[x](http://y)|<b>\x1b"])
    cell = mistakes_table([0], scores, ["a*b", "c", "d"]).splitlines()[2]
    assert cell.count("|") == 5
    assert not set("[]()<>*") & set(cell.replace("&#", ""))


@pytest.mark.parametrize("where", ["folder", "song"])
def test_what_goes_wrong_is_said_once_and_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], where: str):
    def broken(song: int, seconds: float) -> np.ndarray:
        raise OSError("the shard is damaged")

    if where == "folder":
        (tmp_path / "runs").write_text("in the way")
    with RunEvents(Store(str(tmp_path)), ID, RUN) as events:
        events.outcome(50, {"pr_auc": 0.7}, table([[0.9, 0.1, 0.0]], [1]), CLASSES, broken)
        events.validated(line(10), STREAMS)
        events.live(10, 0.5, STREAMS)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("[events] no more event files of this run: ")


def test_a_run_without_event_files_leaves_none(tmp_path: Path):
    with RunEvents(Store(str(tmp_path)), ID, RUN, wanted=False) as events:
        events.began(group())
        events.validated(line(10), STREAMS)
    assert list(tmp_path.iterdir()) == []
