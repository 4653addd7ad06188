"""The output bias of any model can be found and set, and it is what moves the logits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.tiny_models import TINY, tiny_len
from torch import nn

from genrescale.losses import LOSSES, OUTPUT_PRIOR
from genrescale.models import MODELS, build_model
from genrescale.models.parts.head import head_bias, set_output_prior


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_models_logits_move_with_the_bias_that_is_set(name: str):
    torch.manual_seed(0)
    model = build_model(name, 7, **TINY[name]).eval()
    wave_BT = 0.1 * torch.randn(2, tiny_len(name))
    with torch.no_grad():
        before_BK, bias_K = model(wave_BT), head_bias(model, 7).clone()
        set_output_prior(model, 7, 0.01)
        after_BK = model(wave_BT)
    torch.testing.assert_close(after_BK - before_BK, (-math.log(99) - bias_K).expand(2, 7), atol=1e-4, rtol=1e-4)


def test_a_fresh_output_layer_starts_at_the_prior():
    model: Any = nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 7))
    set_output_prior(model, 7, 0.01)
    assert torch.equal(model[2].bias, torch.full((7,), -math.log(99)))
    assert not torch.equal(model[0].bias, model[2].bias)
    logits_BK = model(torch.zeros(3, 4))
    torch.testing.assert_close(torch.sigmoid(model[2].bias), torch.full((7,), 0.01))
    assert logits_BK.shape == (3, 7)


def test_focal_and_class_balanced_ask_for_it_as_in_the_study():
    assert OUTPUT_PRIOR == {"focal": 0.01, "class_balanced": 0.01}
    assert set(OUTPUT_PRIOR) < set(LOSSES)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(4, 3), "Linear has no head, a linear layer with 7 outputs"),
        (nn.Linear(4, 7, bias=False), "the head of Linear, itself, has no bias"),
        (nn.ReLU(), "ReLU has no head, a linear layer with 7 outputs"),
    ],
)
def test_a_model_without_such_a_layer_is_refused(model: nn.Module, words: str):
    with pytest.raises(ValueError, match=words):
        set_output_prior(model, 7, 0.01)
