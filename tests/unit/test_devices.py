"""What ``tests/gpu`` asks of a GPU, asked of the CPU: the questions themselves are sound."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import devices

from genrescale.models import MODELS

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_agrees_with_itself(name: str):
    devices.check_model(name, CPU)


def test_a_model_that_differs_is_found(monkeypatch: pytest.MonkeyPatch):
    right = devices.logits_and_gradient("fcn", CPU)
    answers = [(right[0] * 1.01, right[1]), right]
    monkeypatch.setattr(devices, "logits_and_gradient", lambda *_: answers.pop(0))
    with pytest.raises(AssertionError):
        devices.check_model("fcn", CPU)


@pytest.mark.usefixtures("process_group")
def test_an_engine_passes_on_a_cpu(tmp_path: Path):
    devices.check_bf16("spectrogram", CPU)
    devices.check_resumed("spectrogram", CPU, tmp_path)
    devices.check_one_rank(CPU, "gloo")


def test_groups_come_ahead_on_a_cpu():
    devices.check_prefetch(CPU)
