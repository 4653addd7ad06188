"""What a run's config says of its loss and augmentation reaches the worker's loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from helpers.traces import CROP, plan_of
from torch import nn

import genrescale.training.assemble
from genrescale.audio import Tag, Vocabulary
from genrescale.config import AugmentConfig, DataConfig, ModelConfig, RunConfig, SiteConfig
from genrescale.losses import Loss, build_loss
from genrescale.models.parts.head import head_bias
from genrescale.training.assemble import build_loop

TINY = ModelConfig("waveform", {"frontend_width": 0.125, "backend_filters": 16, "backend_units": 16})
VOCABULARY = Vocabulary((Tag("rock"), Tag("jazz"), Tag("energy", "regress")))


class FakeEngine:
    """Keeps what it is handed: DeepSpeed takes one process group for the life of a process, and other tests have it."""

    world_size = 1

    def __init__(self, model: nn.Module, loss: Loss, *_: Any, **__: Any) -> None:
        self.model, self.loss = model, loss

    def weights(self) -> dict[str, torch.Tensor]:
        return {}


def engine_of(monkeypatch: pytest.MonkeyPatch, counts: list[int] | None = None, **settings: Any) -> FakeEngine:
    monkeypatch.setattr(genrescale.training.assemble, "Engine", FakeEngine)
    run, plan = RunConfig(model=TINY, **settings), plan_of(np.full(64, 3 * CROP), 2)
    loop = build_loop(run, SiteConfig(), VOCABULARY, plan, lambda *_: None, np.array(counts) if counts else None)
    assert isinstance(loop.engine, FakeEngine)
    return loop.engine


@pytest.mark.parametrize("loss", ["focal", "class_balanced", "distribution_balanced", "bce"])
def test_the_output_starts_where_the_loss_wants_it(monkeypatch: pytest.MonkeyPatch, loss: str):
    engine = engine_of(monkeypatch, [30, 3, 60], loss=loss)
    wanted = -math.log(99) if loss in ("focal", "class_balanced") else 0.0
    torch.testing.assert_close(head_bias(engine.model, 3).detach(), torch.full((3,), wanted))


def test_counts_and_dials_make_the_loss(monkeypatch: pytest.MonkeyPatch):
    dials = {"kappa": 0.1, "gamma": 3.0}
    settings = {"loss": "distribution_balanced", "loss_dials": dials, "data": DataConfig(size=90)}
    logits_BK, tags_BK = torch.randn(4, 3), torch.ones(4, 3)
    expected = build_loss("distribution_balanced", VOCABULARY, [30, 3, 60], 90, **dials)(logits_BK, tags_BK)
    assert torch.equal(engine_of(monkeypatch, [30, 3, 60], **settings).loss(logits_BK, tags_BK), expected)


def test_masks_reach_the_model(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="spec_augment masks spectrograms, and WaveformTagger has none"):
        engine_of(monkeypatch, augment=AugmentConfig(spec_augment="median"))
