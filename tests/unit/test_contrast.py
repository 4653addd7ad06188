"""Contrastive domain adaptation: the loss against a literal form, its pairs, and the objective inside the engine."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from genrescale.audio import Tag, Vocabulary
from genrescale.config import AugmentConfig, OptimConfig, RunConfig
from genrescale.config.optim import ContrastConfig
from genrescale.losses import build_loss
from genrescale.models import build_model
from genrescale.models.parts.head import head_name
from genrescale.training.contrast import Contrast, contrastive
from genrescale.training.engine import Engine, TrainGroup, initialise_process

pytestmark = pytest.mark.usefixtures("process_group")
CLASSES = Vocabulary((Tag("blues"), Tag("disco"), Tag("rock")), exclusive=True)


def literal(embedding: np.ndarray, classes: list[int], real: list[bool], margin: float) -> float:
    """The loss by its words, pair by pair, in float64."""
    by_anchor = []
    for a, anchor in enumerate(embedding):
        pairs = [b for b in range(len(embedding)) if b != a and real[b]]
        distance = {b: math.dist(anchor, embedding[b]) for b in pairs}
        near = [distance[b] ** 2 for b in pairs if classes[b] == classes[a]]
        far = [max(0.0, margin - distance[b]) ** 2 for b in pairs if classes[b] != classes[a]]
        if pairs:
            by_anchor.append(0.5 * (np.mean(near) if near else 0.0) + 0.5 * (np.mean(far) if far else 0.0))
    return float(np.mean(by_anchor)) if by_anchor else 0.0


def found(embedding: np.ndarray | Tensor, classes: list[int], real: list[bool], margin: float = 2.0) -> Tensor:
    return contrastive(torch.as_tensor(embedding), torch.tensor(classes), torch.tensor(real), margin)


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_that_of_its_words(seed: int):
    rng = np.random.default_rng(seed)
    embedding, classes = rng.standard_normal((9, 4)), rng.integers(0, 3, 9).tolist()
    real = (rng.random(9) < 0.5).tolist()
    assert found(embedding, classes, real).item() == pytest.approx(literal(embedding, classes, real, 2.0), rel=1e-5)


def test_its_gradient_is_that_of_finite_differences():
    embedding = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    classes, real = [0, 0, 1, 1, 2], [True, False, True, True, False]
    value = found(embedding, classes, real)
    [gradient] = torch.autograd.grad(value, embedding)
    for i, j in [(0, 0), (1, 2), (3, 1), (4, 0)]:
        moved = embedding.detach().numpy().copy()
        moved[i, j] += 1e-4
        high = literal(moved, classes, real, 2.0)
        moved[i, j] -= 2e-4
        assert gradient[i, j].item() == pytest.approx((high - literal(moved, classes, real, 2.0)) / 2e-4, abs=1e-3)


def test_equal_embeddings_have_a_finite_gradient():
    embedding = torch.zeros(4, 3, requires_grad=True)
    value = found(embedding, [0, 0, 1, 1], [True] * 4)
    value.backward()
    assert value.item() == pytest.approx(2.0)
    assert embedding.grad is not None
    assert embedding.grad.isfinite().all()


def test_a_synthetic_clip_is_an_anchor_and_never_a_pair():
    apart = np.array([[0.0], [0.0], [5.0]])
    assert found(apart, [0, 0, 0], [True, True, False]).item() == pytest.approx(25 / 2 / 3)
    assert found(apart, [0, 0, 0], [False, False, False]).item() == 0.0
    assert found(apart[:1], [0], [True]).item() == 0.0


def test_negatives_beyond_the_margin_cost_nothing():
    assert found(np.array([[0.0], [2.5]]), [0, 1], [True, True]).item() == 0.0
    assert found(np.array([[0.0], [0.5]]), [0, 1], [True, True]).item() == pytest.approx(1.5**2 / 2)


@pytest.mark.parametrize("values", [{"weight": 1.0}, {"margin": 1.0}, {"weight": -0.1}, {"weight": 0.7, "margin": 0.0}])
def test_settings_that_contradict_each_other_are_refused(values: dict[str, Any]):
    with pytest.raises(ValueError, match=r"contrast\.weight|margin=0"):
        ContrastConfig(**values)


def test_mixed_clips_are_refused():
    with pytest.raises(ValueError, match="mixup_alpha=0"):
        RunConfig(contrast=ContrastConfig(0.7, 2.0), augment=AugmentConfig(mixup_alpha=0.2))
    engine, [group] = engine_of(ContrastConfig(0.7, 2.0)), groups_of(1)
    for clip in ([0.3, 0.7, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 0.0]):
        mixed_BK = np.array([*group.tags_BK[:5], clip], np.float32)
        with pytest.raises(ValueError, match="one class each"):
            engine.train_step(0, [replace(group, tags_BK=mixed_BK)])


def test_no_group_makes_the_host_wait_for_its_labels():
    """What is not known without the device's answer cannot be asked of a meta tensor: it raises."""
    model = build_model("spectrogram", 3, backend_filters=8, backend_units=4)
    objective = Contrast(model, 3, ContrastConfig(0.7, 2.0))
    objective._embedding_BD = torch.empty(6, 4, device="meta")
    class_B, real_B = torch.empty(6, dtype=torch.long, device="meta"), torch.empty(6, dtype=torch.bool, device="meta")
    assert objective.loss(torch.empty((), device="meta"), class_B, real_B).shape == ()


def engine_of(config: ContrastConfig) -> Engine:
    device = initialise_process(use_gpu=False, threads=1, seed=0)
    model = build_model("waveform", 3, frontend_width=0.125, backend_filters=8, backend_units=8, dropout=0.0)
    settings: dict[str, Any] = {"precision": "fp32", "zero_stage": 0, "seed": 0, "group": 6, "groups_per_step": 1}
    contrast = Contrast(model, 3, config) if config.weight else None
    loss, optim = build_loss("cross_entropy", CLASSES), OptimConfig(lr=0.01)
    return Engine(model, loss, optim, AugmentConfig(), device, **settings, num_tags=3, contrast=contrast)


def groups_of(count: int) -> list[TrainGroup]:
    rng = np.random.default_rng(0)
    tags_BK = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
    real_B = np.array([True, False] * 3)
    waves = rng.integers(-8000, 8000, (count, 6, 32_000)).astype(np.int16)
    return [TrainGroup(0, wave_BT, tags_BK, 1.0, real_B) for wave_BT in waves]


def test_the_engine_trains_on_both_losses():
    """The first step's loss is the weighted sum of the classifier's and that of the head's inputs."""
    [group] = groups_of(1)
    plain = engine_of(ContrastConfig())
    classifier = float(plain.train_step(0, [group]))
    adapting = engine_of(ContrastConfig(0.7, 2.0))
    inputs: list[Tensor] = []
    head = adapting.module.get_submodule(head_name(adapting.module, 3))
    head.register_forward_pre_hook(lambda module, args: inputs.append(args[0].detach().clone()))
    both = float(adapting.train_step(0, [group]))
    term = literal(inputs[0].double().numpy(), [0, 0, 1, 1, 2, 2], [True, False] * 3, 2.0)
    assert both == pytest.approx(0.3 * classifier + 0.7 * term, rel=1e-5)
    assert term > 0.1


def test_training_draws_the_synthetic_clips_to_the_real_ones_of_their_class():
    [group], losses = groups_of(1), []
    engine = engine_of(ContrastConfig(0.7, 2.0))
    for step in range(12):
        losses.append(float(engine.train_step(step, [replace(group, group=step)])))
    assert losses[-1] < 0.5 * losses[0]
