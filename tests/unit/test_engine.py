"""The engine's optimisers, frozen parts and rates by layer, and a run of two phases, in this process without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.worlds import small_run
from torch import Tensor, nn

from genrescale.config import AugmentConfig, ModelConfig, OptimConfig, RunConfig, SiteConfig
from genrescale.data.manifest import Manifest
from genrescale.data.reading.source import local_stream
from genrescale.models import build_model
from genrescale.training.assemble import build_loop
from genrescale.training.engine import Engine, TrainGroup, initialise_process
from genrescale.training.loop import TrainingLoop
from genrescale.training.optimizers import build_optimizer
from genrescale.training.select import select_data

pytestmark = pytest.mark.usefixtures("process_group")
NUM_TAGS = 3
WAVEFORM = ModelConfig("waveform", {"frontend_width": 0.125, "backend_filters": 8, "backend_units": 8})
SSAST = ModelConfig("ssast", {"size": "tiny", "depth": 2, "position_frames": 96, "checkpoint_activations": True})
SGD_LATER: dict[str, Any] = {"sgd_after": 500, "sgd_lrs": [0.05], "schedule": "constant", "patience_steps": 0}
SGD_PHASE: dict[str, Any] = {
    **{"sgd_after": 9, "sgd_lrs": [0.05, 0.005], "sgd_lr_steps": 4, "schedule": "constant"},
    **{"steps": 18, "validate_every": 3, "momentum": 0.8, "weight_decay": 1e-4},
}


def engine_of(
    optim: OptimConfig, zero_stage: int = 0, precision: str = "fp32", model_config: ModelConfig = WAVEFORM
) -> Engine:
    device = initialise_process(use_gpu=False, threads=1, seed=0)
    model = build_model(model_config.name, NUM_TAGS, **model_config.dials)

    def loss(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(logits_BK, tags_BK)

    settings: dict[str, Any] = {
        "precision": precision,
        "zero_stage": zero_stage,
        "seed": 0,
        "group": 4,
        "groups_per_step": 1,
    }
    return Engine(model, loss, optim, AugmentConfig(), device, **settings, num_tags=NUM_TAGS)


def train(engine: Engine, steps: int = 3) -> list[float]:
    """The losses of some steps on noise."""
    rng, losses = np.random.default_rng(0), []
    for step in range(steps):
        wave_BT = rng.integers(-8000, 8000, (4, 32_000)).astype(np.int16)
        group = TrainGroup(0, wave_BT, (rng.random((4, NUM_TAGS)) < 0.5).astype(np.float32), 1.0)
        losses.append(float(engine.train_step(step, [group])))
    return losses


def steps_of(optimizer: torch.optim.Optimizer, weight: nn.Parameter, count: int = 4) -> list[list[float]]:
    found, generator = [], torch.Generator().manual_seed(0)
    for _ in range(count):
        weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
        found.append(weight.detach().tolist())
    return found


@pytest.mark.parametrize(
    ("values", "theirs", "settings"),
    [
        ({}, torch.optim.Adam, {}),
        ({"betas": [0.95, 0.99]}, torch.optim.Adam, {"betas": (0.95, 0.99)}),
        ({"name": "adamw"}, torch.optim.AdamW, {}),
        ({"name": "sgd"}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ({"name": "sgd", "momentum": 0.0}, torch.optim.SGD, {}),
    ],
)
def test_an_optimiser_is_pytorchs(values: dict[str, Any], theirs: type, settings: dict[str, Any]):
    weights = [nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2)]
    optim = OptimConfig(lr=0.1, weight_decay=0.01, **values)
    ours = build_optimizer([{"params": [weights[0]], "lr_scale": 1.0}], optim)
    expected = theirs([weights[1]], lr=0.1, weight_decay=0.01, **settings)
    assert steps_of(ours, weights[0]) == steps_of(expected, weights[1])


def test_adam_whose_groups_are_told_to_goes_on_as_nesterovs_sgd():
    weights = [nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2)]
    ours = build_optimizer([{"params": [weights[0]], "lr_scale": 1.0}], OptimConfig(lr=0.1, weight_decay=0.01))
    steps_of(ours, weights[0])
    weights[1].data.copy_(weights[0].data)
    ours.state.clear()
    ours.param_groups[0].update(sgd=True, lr=0.02)
    expected = torch.optim.SGD([weights[1]], lr=0.02, momentum=0.9, nesterov=True, weight_decay=0.01)
    assert steps_of(ours, weights[0]) == steps_of(expected, weights[1])


def test_what_is_frozen_does_not_change_and_its_batch_norms_keep_their_statistics():
    engine = engine_of(OptimConfig(lr=0.01, freeze=["frontend"]))
    before = engine.weights()
    train(engine)
    after = engine.weights()
    frozen = [name for name in before if name.startswith("frontend.")]
    assert any(name.endswith("running_mean") for name in frozen)
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not any(torch.equal(before[name], after[name]) for name in before if name not in frozen)
    assert engine.num_params == sum(parameter.numel() for parameter in engine.module.parameters())


def test_a_frozen_batch_norm_normalises_by_its_statistics():
    engine = engine_of(OptimConfig(freeze=["frontend"]))
    train(engine, steps=1)
    norms = [m for m in engine.module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert [norm.training for norm in norms[:7]] == [False] * 7
    assert all(norm.training for norm in norms[7:])


def test_the_backbone_moves_by_its_own_rate():
    """The first step of Adam moves every weight by the rate, whatever its gradient."""
    engine = engine_of(OptimConfig(lr=0.01, backbone_lr=1e-4))
    before = engine.weights()
    train(engine, steps=1)
    moved = {name: (weight - before[name]).abs().max().item() for name, weight in engine.weights().items()}
    assert moved["backend.output.weight"] == pytest.approx(0.01, rel=0.01)
    assert moved["backend.dense.weight"] == pytest.approx(1e-4, rel=0.01)
    assert moved["frontend.convs.0.weight"] == pytest.approx(1e-4, rel=0.01)


def test_rates_by_layer_hold_at_every_rate_of_the_schedule():
    engine = engine_of(OptimConfig(lr=0.01, layer_decay=0.5))
    engine.set_lr(0.004)
    before = engine.weights()
    train(engine, steps=1)
    moved = {name: (weight - before[name]).abs().max().item() for name, weight in engine.weights().items()}
    assert moved["backend.output.weight"] == pytest.approx(0.004, rel=0.01)
    assert moved["backend.dense.weight"] == pytest.approx(0.002, rel=0.01)
    assert moved["frontend.convs.6.weight"] == pytest.approx(0.004 / 2**5, rel=0.01)


def restarted(zero_stage: int) -> dict[str, Tensor]:
    """Three steps of Adam, back to the first weights, and two steps of SGD."""
    engine = engine_of(OptimConfig(lr=0.01, layer_decay=0.9, **SGD_LATER), zero_stage)
    first = engine.weights()
    train(engine)
    engine.restart(first)
    assert all(torch.equal(weight, first[name]) for name, weight in engine.weights().items())
    engine.set_lr(0.05, sgd=True)
    train(engine, steps=2)
    return engine.weights()


@pytest.fixture(scope="module")
def restarted_at_zero_0() -> dict[str, Tensor]:
    return restarted(0)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_sgd_starts_from_given_weights_at_every_zero_stage(restarted_at_zero_0: dict[str, Tensor], stage: int):
    """ZeRO steps on copies of the weights, and ZeRO 3 holds parts of them: the given ones must reach both."""
    found = restarted(stage)
    assert found.keys() == restarted_at_zero_0.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, restarted_at_zero_0[name], atol=1e-6, rtol=1e-5)


def transformer(zero_stage: int) -> tuple[list[float], Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Of an SSAST in bf16 with checkpointed activations: losses of 4 steps, logits, and weights before and after."""
    engine = engine_of(OptimConfig(lr=1e-3), zero_stage, "bf16", SSAST)
    before = engine.weights()
    losses = train(engine, steps=4)
    wave_BT = np.random.default_rng(1).integers(-8000, 8000, (4, 32_000)).astype(np.int16)
    return losses, engine.logits(wave_BT, 0).float(), before, engine.weights()


@pytest.fixture(scope="module")
def transformer_at_zero_0() -> tuple[list[float], Tensor, dict[str, Tensor], dict[str, Tensor]]:
    return transformer(0)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_transformer_trains_alike_at_every_zero_stage(transformer_at_zero_0: tuple, stage: int):
    """ZeRO 3 gathers weights for each layer that is computed again; autocast rounds to 8 bits at every stage."""
    expected_losses, expected_BK, _, _ = transformer_at_zero_0
    losses, logits_BK, before, after = transformer(stage)
    assert losses == pytest.approx(expected_losses, abs=2e-3)
    assert losses[0] != losses[-1]
    torch.testing.assert_close(logits_BK, expected_BK, rtol=0, atol=3e-2)
    assert [name for name in before if before[name].is_floating_point() and torch.equal(before[name], after[name])] == [
        name for name in before if name.startswith("fbank")
    ]


def train_here(
    run: RunConfig, corpus: Manifest, save_at: int = 0, folder: Path | None = None, resume: bool = False
) -> TrainingLoop:
    data = select_data(run, corpus)

    def report(metrics: dict[str, float | None], save: Any) -> None:
        if save_at and metrics["step"] == save_at:
            save(folder)

    loop = build_loop(run, SiteConfig(), data.manifest.vocabulary, data.plan, report)
    if resume and folder:
        loop.load(folder)
    loop.train(local_stream(data.source(), data.plan.items(0, 1, loop.state.step)))
    return loop


@pytest.fixture(scope="module")
def two_phases(corpus: Manifest, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingLoop, Path]:
    """A run of Adam and then SGD, with the folder of its checkpoint of step 12, inside the SGD phase."""
    folder = tmp_path_factory.mktemp("FMA [2] *?")
    return train_here(small_run(size=24, batch=8, **SGD_PHASE), corpus, 12, folder), folder


def test_sgd_takes_over_from_the_best_checkpoint(corpus: Manifest, monkeypatch: pytest.MonkeyPatch):
    """Of the three validations before SGD, the second is made the best."""
    ranks, started_from = iter([2.0, 1.0, 3.0, 4.0, 4.0, 4.0]), []
    monkeypatch.setattr("genrescale.training.loop.selector", lambda optim, val_loss, metrics: next(ranks))
    restart = Engine.restart

    def recorded(engine: Engine, weights: dict[str, Tensor]) -> None:
        before = engine.weights()
        restart(engine, weights)
        started_from.append((before, engine.weights()))
        assert not engine._optimizer.state

    monkeypatch.setattr(Engine, "restart", recorded)
    loop = train_here(small_run(size=24, batch=8, **SGD_PHASE), corpus)
    [(before, after)] = started_from
    assert loop.state.best_step == 6
    assert all(torch.equal(after[name], weight) for name, weight in loop.best_weights.items())
    assert not torch.equal(before["backend.output.weight"], after["backend.output.weight"])
    assert [row["lr"] for row in loop.state.curve] == [1e-3, 1e-3, 1e-3, 0.05, 0.005, 0.005]
    states = loop.engine._optimizer.state.values()
    assert {key for state in states for key in state} == {"momentum_buffer"}


def test_a_run_resumed_in_its_sgd_phase_is_the_undisturbed_run_to_the_bit(
    two_phases: tuple[TrainingLoop, Path], corpus: Manifest
):
    undisturbed, folder = two_phases
    run = small_run(size=24, batch=8, **SGD_PHASE)
    resumed = train_here(run, corpus, folder=folder, resume=True)
    assert resumed.state.resumed_at == [12]
    assert resumed.state.curve == undisturbed.state.curve
    theirs, ours = undisturbed.engine.weights(), resumed.engine.weights()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert all(torch.equal(undisturbed.best_weights[name], resumed.best_weights[name]) for name in theirs)


def test_a_run_resumed_just_before_its_sgd_phase_is_the_undisturbed_run_to_the_bit(
    two_phases: tuple[TrainingLoop, Path], corpus: Manifest, tmp_path: Path
):
    run = small_run(size=24, batch=8, **SGD_PHASE)
    train_here(run, corpus, 9, tmp_path)
    resumed = train_here(run, corpus, folder=tmp_path, resume=True)
    assert resumed.state.resumed_at == [9]
    assert resumed.state.curve == two_phases[0].state.curve


def test_a_run_with_frozen_layers_resumes_to_the_bit(corpus: Manifest, tmp_path: Path):
    run = small_run(size=24, batch=8, steps=6, validate_every=3, freeze=["frontend"])
    undisturbed = train_here(run, corpus, 3, tmp_path)
    resumed = train_here(run, corpus, folder=tmp_path, resume=True)
    assert resumed.state.curve == undisturbed.state.curve
