"""Ten seeded steps through the engine give the recorded losses: a refactoring must not change them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from golden.write_ten_steps import DIALS, arithmetic, in_float64, ten_steps

pytestmark = pytest.mark.usefixtures("process_group")
RECORD = json.loads(Path(__file__).with_name("ten_steps.json").read_text())
MODELS = ("waveform", "spectrogram")
# Another processor or build of PyTorch sums in another order. In float64 that is 1e-12 after ten steps (seen: other
# instruction sets of PyTorch, oneDNN and MKL). In fp32 it is 1e-6 in the first loss, and up to 0.1 after ten steps: a
# log-mel is never negative, so some filters are positive everywhere, and the batch norm behind them takes their bias
# away again. The bias's gradient is 0 and in fp32 its rounding, 1e-8, which Adam makes a step of the size of lr with
# that rounding's sign. The biases drift apart, the maximum of a pool falls on another cell, and the losses follow.
FLOAT64 = 1e-9
FIRST = 1e-5


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.usefixtures("compiled_layers")
def test_ten_steps_are_as_recorded(model: str):
    losses = ten_steps(model)
    if arithmetic() == RECORD["arithmetic"]:
        assert losses == RECORD["losses"][model]
    else:  # the first loss is that of the drawn weights, before any update
        assert losses[0] == pytest.approx(RECORD["losses"][model][0], rel=FIRST)


@pytest.mark.parametrize("model", MODELS)
def test_ten_steps_in_float64_are_as_recorded_on_every_processor(model: str):
    with in_float64():
        losses = ten_steps(model)
    assert losses == pytest.approx(RECORD["float64"][model], rel=FLOAT64)


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
