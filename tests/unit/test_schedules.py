"""The learning rate at every boundary of every schedule, and what a validation changes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from genrescale.config import OptimConfig
from genrescale.training.schedules import after_validation, in_sgd_phase, learning_rate, selector
from genrescale.training.state import RunState

CONSTANT = {"schedule": "constant", "patience_steps": 0}
WON = {"name": "adam", "lr": 1e-4, "sgd_after": 80, "sgd_lrs": [1e-3, 1e-4, 1e-5], "sgd_lr_steps": 20}


def optim(**values: Any) -> OptimConfig:
    return OptimConfig(**{"max_steps": 200, "validate_every": 10, "lr": 0.1, **values})


def rates(config: OptimConfig, *steps: int) -> list[float]:
    return [learning_rate(config, step) for step in steps]


def test_a_constant_rate_is_constant():
    assert rates(optim(schedule="constant"), 0, 1, 199) == [0.1, 0.1, 0.1]


def test_a_warm_up_rises_in_equal_parts_and_reaches_the_rate_with_its_last_step():
    config = optim(schedule="constant", warmup_steps=4)
    assert rates(config, 0, 1, 2, 3, 4) == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])


def test_a_cosine_is_pytorchs_and_would_be_0_at_the_last_step_and_one():
    config = optim(schedule="cosine")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=200)
    for step in range(200):
        assert learning_rate(config, step) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()
    assert learning_rate(config, 200) == 0.0


def test_a_cosine_begins_where_the_warm_up_ends():
    config = optim(schedule="cosine", warmup_steps=100)
    assert rates(config, 49, 99, 100, 150, 200) == pytest.approx([0.05, 0.1, 0.1, 0.05, 0.0])


def test_an_exponential_decay_falls_at_its_start_and_every_so_many_steps_from_there():
    config = optim(schedule="exponential", decay_start=60, decay_every=10, decay_factor=0.85)
    assert rates(config, 59, 60, 69, 70, 79, 80) == pytest.approx(
        [0.1, 0.1 * 0.85, 0.1 * 0.85, 0.1 * 0.85**2, 0.1 * 0.85**2, 0.1 * 0.85**3]
    )


def test_wons_recipe_is_adam_then_sgd_with_two_drops():
    config = optim(**CONSTANT, **WON)
    assert rates(config, 0, 79, 80, 99, 100, 119, 120, 199) == [1e-4, 1e-4, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
    assert [in_sgd_phase(config, step) for step in (0, 79, 80, 199)] == [False, False, True, True]


def test_mediaevals_recipe_is_adam_then_sgd_with_three_drops():
    config = optim(**CONSTANT, name="adam", lr=5e-4, sgd_after=80, sgd_lrs=[0.01, 1e-3, 1e-4, 1e-5], sgd_lr_steps=30)
    assert rates(config, 79, 80, 109, 110, 139, 140, 169, 170, 199) == [
        *(5e-4, 0.01, 0.01, 1e-3, 1e-3),
        *(1e-4, 1e-4, 1e-5, 1e-5),
    ]


def test_without_an_sgd_phase_there_is_none():
    assert not any(in_sgd_phase(optim(), step) for step in (0, 80, 199))
    assert rates(optim(**CONSTANT, sgd_after=80, sgd_lrs=[0.5]), 79, 80, 199) == [0.1, 0.5, 0.5]


def test_a_plateau_cuts_what_the_warm_up_leaves():
    config = optim(warmup_steps=10, plateau_factor=0.5)
    assert learning_rate(config, 4, cuts=1) == pytest.approx(0.1 * 0.5 * 0.5)
    assert learning_rate(config, 100, cuts=3) == pytest.approx(0.1 / 8)


def run_plateau(losses: list[float], **values: Any) -> list[int]:
    config = optim(plateau_steps=20, patience_steps=0, **values)
    state, cuts = RunState(), []
    for i, loss in enumerate(losses):
        state.step = (i + 1) * config.validate_every
        after_validation(state, config, loss)
        cuts.append(state.cuts)
    return cuts


def test_an_improvement_starts_the_wait_anew_unless_the_plateau_never_resets():
    losses = [3.0, 4.0, 2.0, 4.0, 4.0]
    assert run_plateau(losses) == [0, 0, 0, 0, 1]
    assert run_plateau(losses, plateau_resets=False) == [0, 0, 0, 1, 1]


def test_other_schedules_have_no_plateaus():
    config, state = optim(schedule="cosine", patience_steps=0), RunState(lr=0.1)
    for step in range(10, 5_000, 10):
        state.step = step
        after_validation(state, config, 1.0)
    assert (state.cuts, state.best_step) == (0, 10)


def test_a_checkpoint_may_be_chosen_by_another_metric_than_the_loss():
    config, state = optim(best_by="val_pr_auc"), RunState()
    best = []
    for step, (loss, pr_auc) in enumerate([(1.0, 0.5), (0.9, 0.4), (1.2, 0.6)], 1):
        state.step = 10 * step
        best.append(after_validation(state, config, loss, selector(config, loss, {"pr_auc": pr_auc})))
    assert best == [True, False, True]
    assert (state.best_step, state.best_loss) == (30, 1.2)


def test_a_metric_that_the_songs_do_not_define_is_refused():
    with pytest.raises(ValueError, match=r"best_by=val_accuracy.*define no accuracy.*best_by=val_loss"):
        selector(optim(best_by="val_accuracy"), 1.0, {"accuracy": None})
    assert selector(optim(), 1.5, {}) == 1.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "rmsprop"}, "none of"),
        ({"schedule": "step"}, "none of"),
        ({"best_by": "loss"}, "none of"),
        ({"betas": [0.9]}, "two numbers"),
        ({"momentum": 1.0, "name": "sgd"}, "below 1"),
        ({"layer_decay": 0.0}, "above 0"),
        ({"layer_decay": 0.7, "backbone_lr": 1e-5}, "use one of them"),
        ({"warmup_steps": 200}, "fewer than max_steps"),
        ({"schedule": "exponential"}, "needs decay_every"),
        ({"schedule": "cosine", "plateau_steps": 10}, "plateau_steps=10 has no effect"),
        ({"schedule": "constant", "plateau_resets": False}, "plateau_resets=False has no effect"),
        ({"decay_every": 10}, "decay_every=10 has no effect"),
        ({"momentum": 0.8}, "momentum=0.8 has no effect"),
        ({"name": "sgd", "betas": [0.95, 0.999]}, "betas=.* has no effect"),
        ({"sgd_lrs": [0.1]}, "sgd_lrs=.* has no effect without sgd_after"),
        ({**CONSTANT, "sgd_after": 80}, "needs sgd_lrs"),
        ({**CONSTANT, "sgd_after": 80, "sgd_lrs": [0.1, -1.0], "sgd_lr_steps": 5}, "greater than 0"),
        ({**CONSTANT, "sgd_after": 80, "sgd_lrs": [0.1, 0.01]}, "sgd_lr_steps=0"),
        ({**CONSTANT, "sgd_after": 80, "sgd_lrs": [0.1], "sgd_lr_steps": 5}, "sgd_lr_steps=5"),
        ({**CONSTANT, "sgd_after": 5, "sgd_lrs": [0.1]}, "must be at least validate_every="),
        ({**CONSTANT, "sgd_after": 200, "sgd_lrs": [0.1]}, "and less than max_steps="),
        ({**CONSTANT, "name": "sgd", "sgd_after": 80, "sgd_lrs": [0.1]}, "SGD from the first step"),
        ({**CONSTANT, "sgd_after": 80, "sgd_lrs": [0.1], "warmup_steps": 80}, "must end before sgd_after"),
        ({"patience_steps": 0, "sgd_after": 80, "sgd_lrs": [0.1]}, "needs schedule=constant and patience_steps=0"),
        ({"schedule": "constant", "sgd_after": 80, "sgd_lrs": [0.1]}, "needs schedule=constant and patience_steps=0"),
        ({"freeze": ["frontend", "frontend"]}, "without repetition"),
        ({"freeze": ["all_but_head", "frontend"]}, "trains the head only"),
        ({"freeze": ["all_but_head"], "layer_decay": 0.5}, "trains the head only"),
    ],
)
def test_dials_that_contradict_each_other_are_refused(values: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        optim(**values)


def test_every_rate_is_finite_and_never_negative():
    for schedule in ({"schedule": "cosine"}, {"schedule": "exponential", "decay_every": 7}, {"warmup_steps": 3}):
        assert all(rate >= 0 and math.isfinite(rate) for rate in rates(optim(**schedule), *range(201)))
