"""The checkpoint by the generalisation gap, chosen while a run goes on as it would be from its whole curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.worlds import small_run
from torch import Tensor

from genrescale.config import OptimConfig, RunConfig, SiteConfig
from genrescale.data.manifest import Manifest
from genrescale.data.reading.source import local_stream
from genrescale.metrics.overfitting import GapCurve, gap_curve, possible_steps, select_step
from genrescale.training.assemble import build_loop
from genrescale.training.loop import TrainingLoop
from genrescale.training.select import select_data


def curve_of(*losses_and_gaps: tuple[float, float]) -> GapCurve:
    val_V, gap_V = np.array(losses_and_gaps).T
    return gap_curve(range(1, len(val_V) + 1), val_V - gap_V, val_V)


def random_curve(seed: int) -> GapCurve:
    """Losses and gaps of few values, so that some are equal."""
    rng = np.random.default_rng(seed)
    return curve_of(*zip(rng.integers(8, 16, 12) / 8, rng.integers(-4, 5, 12) / 8, strict=True))


def first(curve: GapCurve, count: int) -> GapCurve:
    return gap_curve(curve.step_V[:count].tolist(), curve.train_loss_V[:count], curve.val_loss_V[:count])


def test_a_lower_loss_may_make_an_earlier_step_the_choice_again():
    curve = curve_of((1.0, 0.5), (1.1, 0.1), (0.9, 0.9))
    assert [select_step(first(curve, n), "gap") for n in (1, 2, 3)] == [1, 2, 1]
    assert [possible_steps(first(curve, n)) for n in (1, 2, 3)] == [[1], [1, 2], [1, 3]]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_kept_holds_the_choice_at_every_validation(seed: int):
    """A step that was let go is never needed again."""
    curve, kept = random_curve(seed), set[int]()
    for count in range(1, len(curve.step_V) + 1):
        so_far = first(curve, count)
        possible = set(possible_steps(so_far))
        assert possible <= kept | {count}
        assert select_step(so_far, "gap") in possible
        kept = possible


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_kept_in_vain(seed: int):
    """For every step that is kept there is a next validation after which it is the choice."""
    curve = random_curve(seed)
    pairs = list(zip(curve.val_loss_V.tolist(), curve.gap_V.tolist(), strict=True))
    for step in possible_steps(curve):
        next_loss = curve.val_loss_V[step - 1] / 1.15 * (1 + 1e-12)
        assert select_step(curve_of(*pairs, (next_loss, 99.0)), "gap") == step


def test_a_rule_that_no_loss_improves_by_goes_with_a_fixed_number_of_steps():
    OptimConfig(best_by="gap", schedule="cosine", patience_steps=0)
    for schedule, patience in (("plateau", 0), ("cosine", 7_500)):
        with pytest.raises(ValueError, match="best_by=gap cannot detect that training no longer improves"):
            OptimConfig(best_by="gap", schedule=schedule, patience_steps=patience)


LOSSES = curve_of((1.0, 0.5), (1.1, 0.1), (0.9, 0.9), (0.95, 0.7))


def run_by_gap(
    corpus: Manifest, monkeypatch: pytest.MonkeyPatch, folder: Path, resume: bool = False
) -> tuple[TrainingLoop, list[int], list[dict[str, Tensor]]]:
    """A run whose losses are those of LOSSES: its best step and its weights at each validation."""

    def scripted(step: Any, train_loss: Any, val_loss: Any) -> GapCurve:
        return gap_curve(step, LOSSES.train_loss_V[: len(step)], LOSSES.val_loss_V[: len(step)])

    monkeypatch.setattr("genrescale.training.loop.gap_curve", scripted)
    run: RunConfig = small_run(size=24, batch=8, steps=8, validate_every=2, best_by="gap", schedule="constant")
    data, best, weights = select_data(run, corpus), [], []

    def report(metrics: dict[str, float | None], save: Any) -> None:
        best.append(loop.state.best_step)
        weights.append(loop.engine.weights())
        if metrics["step"] == 4 and not resume:
            save(folder)

    loop = build_loop(run, SiteConfig(), corpus.vocabulary, data.plan, report)
    if resume:
        loop.load(folder)
    loop.train(local_stream(data.source(), data.plan.items(0, 1, loop.state.step)))
    return loop, best, weights


@pytest.mark.usefixtures("process_group")
def test_the_weights_are_those_of_the_chosen_step_also_after_a_restart(
    corpus: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    loop, best, weights = run_by_gap(corpus, monkeypatch, tmp_path)
    assert best == [2, 4, 2, 2]
    assert (loop.state.best_step, loop.state.best_loss) == (2, 1.0)
    assert all(torch.equal(loop.best_weights[name], weight) for name, weight in weights[0].items())
    assert not torch.equal(weights[0]["backend.output.weight"], weights[1]["backend.output.weight"])
    resumed, best, _ = run_by_gap(corpus, monkeypatch, tmp_path, resume=True)
    assert best == [2, 2]
    assert all(torch.equal(resumed.best_weights[name], weight) for name, weight in weights[0].items())
