"""Ten seeded steps through the engine give the recorded losses: a refactoring must not change them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from golden.write_ten_steps import DIALS, arithmetic, ten_steps

pytestmark = pytest.mark.usefixtures("process_group")
RECORD = json.loads(Path(__file__).with_name("ten_steps.json").read_text())
# Another processor or build of PyTorch sums in another order; the differences grow from step to step.
ELSEWHERE = 1e-3


@pytest.mark.parametrize("model", ["waveform", "spectrogram"])
@pytest.mark.usefixtures("compiled_layers")
def test_ten_steps_are_as_recorded(model: str):
    losses = ten_steps(model)
    if arithmetic() == RECORD["arithmetic"]:
        assert losses == RECORD["losses"][model]
    else:
        assert losses == pytest.approx(RECORD["losses"][model], rel=ELSEWHERE)


@pytest.mark.parametrize(
    ("model", "dials"),
    [
        ("waveform", DIALS),
        ("lstm", {"hidden": 8, "frames": 0}),  # no batch norm: the engine has no statistics to average
        ("cnn_transformer", {"width": 1 / 16, "heads": 2, "checkpoint_activations": True}),
    ],
)
def test_a_run_repeats_to_the_digit(model: str, dials: dict[str, Any]):
    assert ten_steps(model, dials) == ten_steps(model, dials)
