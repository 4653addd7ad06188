"""What a run's config says of its loss and augmentation reaches the worker's loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from traces import CROP, plan_of

from genrescale.audio import Tag, Vocabulary
from genrescale.config import AugmentConfig, DataConfig, ModelConfig, RunConfig, SiteConfig
from genrescale.engine import single_process_group
from genrescale.loop import TrainingLoop
from genrescale.models.output import output_layer
from genrescale.train import build_loop

TINY = ModelConfig("waveform", {"frontend_width": 0.125, "backend_filters": 16, "backend_units": 16})
VOCABULARY = Vocabulary((Tag("rock"), Tag("jazz"), Tag("energy", "regress")))


@pytest.fixture(scope="module", autouse=True)
def process_group() -> Iterator[None]:
    with single_process_group():
        yield


def loop_of(counts: list[int] | None = None, **settings: Any) -> TrainingLoop:
    run = RunConfig(model=TINY, **settings)
    plan = plan_of(np.full(64, 3 * CROP), 2)
    return build_loop(run, SiteConfig(), VOCABULARY, plan, lambda *_: None, np.array(counts) if counts else None)


@pytest.mark.parametrize("loss", ["focal", "class_balanced", "distribution_balanced", "bce"])
def test_the_output_starts_where_the_loss_wants_it(loss: str):
    loop = loop_of([30, 3, 60], loss=loss)
    bias_K = output_layer(loop.engine.module, 3).bias.detach()
    wanted = -math.log(99) if loss in ("focal", "class_balanced") else 0.0
    torch.testing.assert_close(bias_K, torch.full((3,), wanted))
    loop.engine.close()


def test_counts_dials_and_masks_reach_the_worker():
    with pytest.raises(ValueError, match=r"1 tag\(s\) have none: 'jazz'"):
        loop_of([30, 0, 60], loss="class_balanced")
    biased = {"loss": "distribution_balanced", "loss_dials": {"kappa": 0.1}, "data": DataConfig(size=40)}
    with pytest.raises(ValueError, match=r"kappa=0.1 needs num_songs=.* num_songs is 40, and a tag has 40 songs"):
        loop_of([30, 40, 60], **biased)
    with pytest.raises(ValueError, match="spec_augment masks spectrograms, and WaveformTagger has none"):
        loop_of(augment=AugmentConfig(spec_augment="median"))
