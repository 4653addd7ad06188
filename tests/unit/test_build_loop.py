"""What a run's config says of its loss and augmentation reaches the worker's loop."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from genrescale.config import AugmentConfig, DataConfig, ModelConfig, RunConfig, SiteConfig
from genrescale.data.manifest import Manifest
from genrescale.engine import single_process_group
from genrescale.loop import TrainingLoop
from genrescale.models.output import output_layer
from genrescale.prepare import prepare_data
from genrescale.train import build_loop

TINY = ModelConfig("waveform", {"frontend_width": 0.125, "backend_filters": 16, "backend_units": 16})
DATA = DataConfig(size=8, crop_s=2.0, batch=4, group=2)


@pytest.fixture(scope="module", autouse=True)
def process_group() -> Iterator[None]:
    with single_process_group():
        yield


def loop_of(manifest: Manifest, **settings: Any) -> TrainingLoop:
    run = RunConfig(model=TINY, data=DATA, **settings)
    data = prepare_data(run, manifest)
    return build_loop(run, SiteConfig(), manifest.vocabulary, data.plan, lambda *_: None, data.class_counts_K)


@pytest.mark.parametrize("loss", ["focal", "class_balanced", "distribution_balanced", "bce"])
def test_the_output_starts_where_the_loss_wants_it(manifest: Manifest, loss: str):
    loop = loop_of(manifest, loss=loss)
    bias_K = output_layer(loop.engine.module, 3).bias.detach()
    wanted = -math.log(99) if loss in ("focal", "class_balanced") else 0.0
    torch.testing.assert_close(bias_K, torch.full((3,), wanted))
    loop.engine.close()


def test_masks_reach_the_model(manifest: Manifest):
    with pytest.raises(ValueError, match="spec_augment masks spectrograms, and WaveformTagger has none"):
        loop_of(manifest, augment=AugmentConfig(spec_augment="median"))
