"""ReLU, batch norm and max-pool as one layer: the numbers, gradients and statistics of PyTorch's three layers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genrescale.config import AugmentConfig, OptimConfig
from genrescale.metrics import macro_roc_auc
from genrescale.models import build_model
from genrescale.models.parts import fused
from genrescale.models.parts.fused import ReluNormPool2d
from genrescale.training.engine import Engine, TrainGroup, initialise_process

pytestmark = pytest.mark.usefixtures("compiled_layers")

# B, C, R, N and the pool: with and without remainders, over time and over all rows, channels beside a vector's width
SHAPES = [
    (3, 64, 1, 1000, (1, 3)),
    (3, 64, 1, 999, (1, 1)),
    (2, 7, 1, 5, (1, 3)),
    (3, 20, 11, 57, (11, 1)),
    (2, 112, 59, 31, (59, 1)),
    (2, 5, 4, 6, (1, 1)),
]
DIALS: dict[str, dict[str, Any]] = {
    "waveform": {"frontend_width": 0.125, "backend_filters": 16, "backend_units": 16, "norm_momentum": 0.3},
    "spectrogram": {"frontend_width": 0.25, "backend_filters": 16, "backend_units": 16, "norm_momentum": 0.3},
    "short_chunk_res": {"width": 1 / 16},
}


def layers(channels: int) -> tuple[ReluNormPool2d, nn.BatchNorm2d]:
    """Ours and PyTorch's batch norm with the same weights, a third of the scales negative."""
    ours, theirs = ReluNormPool2d(channels, eps=1e-3), nn.BatchNorm2d(channels, eps=1e-3)
    with torch.no_grad():
        ours.weight.copy_(torch.randn(channels).abs() + 0.1)
        ours.weight[::3] *= -1
        ours.bias.normal_()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def far(actual: Tensor | None, expected: Tensor | None) -> float:
    """The largest difference, as a part of the largest value."""
    assert actual is not None
    assert expected is not None
    return ((actual.float() - expected).abs().max() / expected.abs().max()).item()


def history(result: Tensor) -> str:
    """The names of the functions that made ``result``."""
    names, nodes = [], [result.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None:
            names.append(node.name())
            nodes += [before for before, _ in node.next_functions]
    return " ".join(names)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_gradients_and_statistics_are_those_of_the_three_layers(
    dtype: torch.dtype, tolerance: float, shape: tuple[int, int, int, int, tuple[int, int]]
):
    *sizes, pool = shape
    torch.manual_seed(0)
    ours, theirs = layers(sizes[1])
    h_BCRN = torch.randn(sizes, dtype=dtype).requires_grad_()
    plain_BCRN = h_BCRN.detach().float().requires_grad_()
    result, expected = ours(h_BCRN, pool), F.max_pool2d(theirs(F.relu(plain_BCRN)), pool)
    gradient = torch.randn_like(expected)
    (result.float() * gradient).sum().backward()
    (expected * gradient).sum().backward()

    assert "_ReluNormPool" in history(result), "PyTorch's layers were taken"
    assert result.dtype == dtype
    for actual, wanted in [
        (result, expected),
        (h_BCRN.grad, plain_BCRN.grad),
        (ours.weight.grad, theirs.weight.grad),
        (ours.bias.grad, theirs.bias.grad),
    ]:
        assert far(actual, wanted) < tolerance


def test_running_statistics_follow_as_pytorchs_do():
    torch.manual_seed(0)
    ours, theirs = layers(6)
    h_BCRN = torch.empty(0)
    for _ in range(3):
        h_BCRN = torch.randn(2, 6, 1, 5)
        ours(h_BCRN, (1, 3))
        theirs(F.relu(h_BCRN))
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(ours.eval()(h_BCRN.clone()), theirs.eval()(F.relu(h_BCRN)))


def test_parts_are_one_layer():
    torch.manual_seed(0)
    whole, in_parts = layers(9)[0], ReluNormPool2d(9, eps=1e-3)
    in_parts.load_state_dict(whole.state_dict())
    h_BCRN = torch.randn(2, 9, 4, 7)
    expected = whole(h_BCRN, (4, 1))
    torch.testing.assert_close(in_parts(h_BCRN.split([2, 3, 4], dim=1), (4, 1)), expected)
    torch.testing.assert_close(in_parts.running_var, whole.running_var)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_a_digit(threads: int):
    def run() -> list[Tensor]:
        torch.manual_seed(0)
        norm = layers(64)[0]
        h_BCRN = torch.randn(3, 64, 1, 4000).requires_grad_()
        norm(h_BCRN, (1, 3)).square().sum().backward()
        return [value for value in (h_BCRN.grad, norm.weight.grad, norm.running_var) if value is not None]

    before = torch.get_num_threads()
    expected = run()
    torch.set_num_threads(threads)
    try:
        assert all(torch.equal(a, b) for a, b in zip(run(), expected, strict=True))
    finally:
        torch.set_num_threads(before)


def test_fp32_is_nearer_to_float64_than_pytorchs_layers(monkeypatch: pytest.MonkeyPatch):
    """PyTorch sums the statistics of channels-last maps in fp32, cell by cell; ours are summed in float64."""
    torch.manual_seed(0)
    model = build_model("waveform", 3, **{**DIALS["waveform"], "dropout": 0.0})
    wave_BT = 0.2 * torch.randn(4, 32_000)
    ours = model(wave_BT)
    monkeypatch.setattr(fused, "library", lambda: None)
    theirs, exact = model(wave_BT), model.double()(wave_BT.double())
    assert (ours - exact).abs().max() < 1e-4
    assert (ours - exact).abs().max() < (theirs - exact).abs().max()


def test_a_nan_is_not_hidden():
    h_BCRN = torch.randn(2, 4, 1, 9)
    h_BCRN[0, 1, 0, 4] = torch.nan
    result = ReluNormPool2d(4)(h_BCRN, (1, 3))
    assert result[:, 1].isnan().all()
    assert not result[:, 0].isnan().any()


def test_one_cell_is_refused_as_pytorch_refuses_it():
    with pytest.raises(ValueError, match="more than 1 value"):
        ReluNormPool2d(4)(torch.randn(1, 4, 1, 1))


def test_without_a_compiler_pytorchs_layers_train_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("PATH", "")
    fused.library.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            ours, theirs = layers(5)
            for _ in range(2):
                h_BCRN = torch.randn(2, 5, 1, 9)
                torch.testing.assert_close(ours(h_BCRN.clone(), (1, 3)), F.max_pool2d(theirs(F.relu(h_BCRN)), (1, 3)))
    finally:
        fused.library.cache_clear()
    assert [record.message for record in caplog.records if "C++ compiler" in record.message] == [
        "no C++ compiler: training uses PyTorch's own layers, which are slower (install g++)"
    ]


def test_a_source_that_does_not_compile_costs_speed_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    broken = tmp_path / "broken.cpp"
    broken.write_text("this is not C++")
    monkeypatch.setattr(fused, "SOURCE", broken)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fused.library.cache_clear()
    try:
        assert fused.library() is None
    finally:
        fused.library.cache_clear()
    assert "did not compile" in caplog.text


def toy(rng: np.random.Generator, clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips of 1.25 s of noise with tones of 400 and 2,000 Hz, or not: two tags."""
    tags_BK = (rng.random((clips, 2)) < 0.5).astype(np.float32)
    time_T = np.arange(20_000) / 16_000
    tones_KT = np.sin(2 * np.pi * np.array([[400.0], [2000.0]]) * time_T)
    wave_BT = 6000 * tags_BK @ tones_KT + 2000 * rng.standard_normal((clips, 20_000))
    return wave_BT.clip(-32768, 32767).astype(np.int16), tags_BK


def train_toy(name: str, precision: str) -> tuple[list[float], float]:
    """Losses of 50 steps, and ROC-AUC on clips that were not trained on."""
    rng = np.random.default_rng(0)
    device = initialise_process(use_gpu=False, threads=1, seed=0)
    engine = Engine(
        build_model(name, 2, dropout=0.0, **DIALS[name]),
        F.binary_cross_entropy_with_logits,
        OptimConfig(lr=3e-3),
        AugmentConfig(),
        device,
        **{"precision": precision, "zero_stage": 0, "seed": 0, "group": 16, "groups_per_step": 1},  # type: ignore[arg-type]
    )
    losses = [float(engine.train_step(step, [TrainGroup(0, *toy(rng, 16), share=1.0)])) for step in range(50)]
    wave_BT, tags_BK = toy(rng, 64)
    score = macro_roc_auc(tags_BK, torch.sigmoid(engine.logits(wave_BT, 0)).numpy())
    assert score is not None
    return losses, score


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize(
    "name", ["waveform", *(pytest.param(name, marks=pytest.mark.soak) for name in ("spectrogram", "short_chunk_res"))]
)
def test_the_fast_step_learns_what_the_plain_one_learns(name: str, monkeypatch: pytest.MonkeyPatch):
    """bf16 through the fused layer against fp32 through PyTorch's layers: first loss, last losses and scores agree."""
    fast_losses, fast_score = train_toy(name, "bf16")
    monkeypatch.setattr(fused, "library", lambda: None)
    plain_losses, plain_score = train_toy(name, "fp32")
    assert fast_losses[0] == pytest.approx(plain_losses[0], rel=0.01)
    assert np.mean(fast_losses[-10:]) == pytest.approx(np.mean(plain_losses[-10:]), abs=0.05)
    assert plain_score > 0.9
    assert fast_score == pytest.approx(plain_score, abs=0.05)
