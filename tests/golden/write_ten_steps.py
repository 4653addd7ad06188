"""Writes ten_steps.json: the losses of ten seeded training steps of both families on seeded noise. Run by hand only.

python tests/golden/write_ten_steps.py

Once in fp32, as runs train, whose digits are one processor's; once in float64, whose digits all processors share.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from genrescale.audio import Tag, Vocabulary
from genrescale.config import AugmentConfig, OptimConfig
from genrescale.losses import build_loss
from genrescale.models import build_model
from genrescale.training.engine import Engine, TrainGroup, initialise_process, single_process_group

GOLDEN = Path(__file__).with_name("ten_steps.json")
VOCABULARY = Vocabulary((Tag("rock"), Tag("jazz"), Tag("energy", "regress")))
DIALS = {"frontend_width": 0.125, "backend_filters": 16, "backend_units": 16}


def arithmetic() -> list[str]:
    """What decides the last digits: the processor, its instruction set as PyTorch uses it, and PyTorch."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", info.read_text() if info.exists() else "")
    return [model[1] if model else "", torch.backends.cpu.get_cpu_capability(), torch.__version__]


@contextmanager
def in_float64() -> Iterator[None]:
    """What the package makes or casts to float32 is float64 here: weights, window, filter bank, log-mel, loss, Adam."""
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(Tensor, "float", Tensor.double):
            yield
    finally:
        torch.set_default_dtype(torch.float32)


def ten_steps(model: str, dials: dict[str, Any] = DIALS) -> list[float]:
    """Losses of ten steps, each of two groups of four clips of 2 s; the second step's learning rate is halved."""
    rng = np.random.default_rng(0)
    device = initialise_process(use_gpu=False, threads=1, seed=0)
    dtype = torch.get_default_dtype()
    network = build_model(model, len(VOCABULARY), **dials).to(dtype)
    network.register_forward_pre_hook(lambda _, inputs: tuple(wave_BT.to(dtype) for wave_BT in inputs))
    loss = build_loss("by_kind", VOCABULARY)
    optim = OptimConfig(lr=1e-3, clip_norm=1.0)
    settings = {"precision": "fp32", "zero_stage": 0, "seed": 0, "group": 4, "groups_per_step": 2}
    with single_process_group():
        engine = Engine(network, loss, optim, AugmentConfig(), device, **settings)  # type: ignore[arg-type]
        losses = []
        for step in range(10):
            groups = [
                TrainGroup(
                    group,
                    rng.integers(-8000, 8000, (4, 32_000)).astype(np.int16),
                    (rng.random((4, 3)) < 0.5).astype(np.float32),
                    share=0.5,
                )
                for group in range(2)
            ]
            losses.append(float(engine.train_step(step, groups, len(groups))))
            if step == 1:
                engine.set_lr(5e-4)
    return losses


if __name__ == "__main__":
    models = ("waveform", "spectrogram")
    with single_process_group():
        losses = {model: ten_steps(model) for model in models}
        with in_float64():
            exact = {model: ten_steps(model) for model in models}
    GOLDEN.write_text(json.dumps({"arithmetic": arithmetic(), "losses": losses, "float64": exact}, indent=1) + "\n")
