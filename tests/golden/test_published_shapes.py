"""The checkpoints of Won et al. 2020 (MIT) fit our models tensor by tensor; nothing is left over on either side."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from genrescale.models import build_model


def published(shared_data: Path, name: str) -> dict[str, torch.Tensor]:
    """A published checkpoint with the one prefix that differs changed to ours."""
    path = shared_data / "sota" / "models" / "mtat" / name / "best_model.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {f"log_mel.mel.{key[5:]}" if key.startswith("spec.") else key: tensor for key, tensor in state.items()}


@pytest.mark.parametrize("name", ["fcn", "musicnn"])
def test_every_tensor_has_its_place(shared_data: Path, name: str):
    theirs = published(shared_data, name)
    ours = build_model(name, 50).state_dict()
    assert {key: tensor.shape for key, tensor in ours.items()} == {key: tensor.shape for key, tensor in theirs.items()}


@pytest.mark.parametrize("name", ["fcn", "musicnn"])
def test_window_and_filter_bank_are_theirs(shared_data: Path, name: str):
    theirs = published(shared_data, name)
    ours = build_model(name, 50).state_dict()
    for key, tolerance in (("log_mel.mel.spectrogram.window", 0), ("log_mel.mel.mel_scale.fb", 1.3e-5)):
        torch.testing.assert_close(ours[key], theirs[key], rtol=0, atol=tolerance)
