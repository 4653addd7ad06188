"""Every run of a sweep leaves event files of TensorBoard, whose numbers are those of its curve and result row."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from genrescale.config import run_from_dict
from genrescale.results import read_curve, read_results
from genrescale.storage.store import Store
from genrescale.training.event_pictures import WORST
from genrescale.training.events import events_folder

pytestmark = pytest.mark.cluster


def test_event_files_hold_the_curve_the_scores_and_the_worst_mistakes(near: Store):
    rows = read_results(near)
    assert rows
    for row in rows.values():
        folder = near.local_path(events_folder(row.run_id, run_from_dict(row.config)))
        assert isinstance(folder, Path)
        assert len(list(folder.iterdir())) == 2  # the worker's and the driver's
        seen = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "audio": 0}).Reload()
        kept = read_curve(near, row.run_id)
        assert kept is not None
        curve = {line["step"]: line for line in kept.to_pylist()}
        for tag, name in (("loss/train", "train_loss"), ("loss/validation", "val_loss")):
            logged = {scalar.step: scalar.value for scalar in seen.Scalars(tag)}
            assert logged == {step: pytest.approx(line[name]) for step, line in curve.items()}
        assert seen.Scalars("test/pr_auc")[0].value == pytest.approx(row.pr_auc)
        assert seen.Scalars("stream/clips_per_s")[0].value > 0
        assert "clips" in seen.Tags()["images"]
        assert 0 < len(seen.Tags()["audio"]) <= WORST
