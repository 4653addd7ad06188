"""What a device must do as a CPU does it: run on a GPU by ``tests/gpu``, on a CPU by ``tests/unit/test_devices.py``.

Shapes: B clips of a group, T samples, K tags.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from helpers.tiny_models import TINY, tiny_len
from torch import Tensor, nn

from genrescale.config import AugmentConfig, OptimConfig
from genrescale.data.reading.plan import GroupId
from genrescale.data.reading.source import CropGroup
from genrescale.models import build_model, full_dials
from genrescale.training.engine import Engine, TrainGroup, initialise_process
from genrescale.training.prefetch import GroupsAhead

NUM_TAGS, CLIPS = 3, 4
# fp32 sums in another order: parts of the largest logit, and of the length of the whole gradient
LOGITS, GRADIENT = 1e-3, 1e-2


@contextmanager
def full_fp32() -> Iterator[None]:
    """A GPU's convolutions in fp32: by default cuDNN rounds their inputs to the 10 bits of TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _without_dropout(name: str) -> dict[str, Any]:
    return TINY[name] | {dial: 0.0 for dial in full_dials(name, {}) if "dropout" in dial}


def logits_and_gradient(name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of one training pass of a seeded model on seeded noise: (B, K), and every parameter's gradient in one row."""
    torch.manual_seed(0)
    model = build_model(name, NUM_TAGS, **_without_dropout(name)).train().to(device)
    wave_BT = torch.from_numpy(_waves(np.random.default_rng(0), tiny_len(name))).to(device).float() / 32_768
    with full_fp32():
        logits_BK = model(wave_BT)
        logits_BK.square().mean().backward()
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return logits_BK.detach().cpu(), torch.cat(gradients).cpu()


def check_model(name: str, device: torch.device) -> None:
    """Forward and backward as on the CPU."""
    (here_BK, gradient), (there_BK, expected) = (logits_and_gradient(name, d) for d in (device, torch.device("cpu")))
    assert (here_BK - there_BK).abs().max() <= LOGITS * there_BK.abs().max()
    assert (gradient - expected).norm() <= GRADIENT * expected.norm()  # as a whole: some parts are rounding alone


def _waves(rng: np.random.Generator, samples: int) -> np.ndarray:
    return rng.integers(-8000, 8000, (CLIPS, samples)).astype(np.int16)


def make_engine(name: str, device: torch.device, precision: str) -> Engine:
    initialise_process(device.type == "cuda", threads=1, seed=0)
    model = build_model(name, NUM_TAGS, **_without_dropout(name))

    def loss(logits_BK: Tensor, tags_BK: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits_BK.float(), tags_BK)

    settings: dict[str, Any] = {"precision": precision, "zero_stage": 0, "seed": 0, "group": CLIPS}
    return Engine(model, loss, OptimConfig(lr=1e-3), AugmentConfig(), device, **settings, groups_per_step=1)


def losses_of(engine: Engine, name: str, steps: range) -> list[float]:
    """On the same four clips of noise in every step."""
    rng = np.random.default_rng(0)
    wave_BT, tags_BK = _waves(rng, tiny_len(name)), (rng.random((CLIPS, NUM_TAGS)) < 0.5).astype(np.float32)
    return [float(engine.train_step(step, [TrainGroup(0, wave_BT, tags_BK, share=1.0)])) for step in steps]


def check_bf16(name: str, device: torch.device) -> None:
    """Steps in bf16 begin at the loss of fp32, keep fp32 masters, and learn four clips."""
    half, full = (make_engine(name, device, precision) for precision in ("bf16", "fp32"))
    losses, (first,) = losses_of(half, name, range(20)), losses_of(full, name, range(1))
    assert abs(losses[0] - first) <= 0.02 * first
    assert losses[-1] < 0.8 * losses[0]
    assert {parameter.dtype for parameter in half.module.parameters()} == {torch.float32}
    assert {parameter.device.type for parameter in half.module.parameters()} == {device.type}


def check_resumed(name: str, device: torch.device, folder: Path) -> None:
    """A checkpoint is saved, loaded into a new engine, and the run goes on as if nothing had been."""
    whole = make_engine(name, device, "fp32")
    losses_of(whole, name, range(3))
    whole.save(folder)
    undisturbed = losses_of(whole, name, range(3, 6))
    resumed = make_engine(name, device, "fp32")
    resumed.load(folder)
    np.testing.assert_allclose(losses_of(resumed, name, range(3, 6)), undisturbed, rtol=1e-5)


def check_prefetch(device: torch.device) -> None:
    """Groups come in order, on the device, with their audio, while the device computes."""
    rng, songs = np.random.default_rng(0), np.arange(CLIPS)
    waves = [_waves(rng, 32_000) for _ in range(6)]
    groups = [
        CropGroup(GroupId("train", 0, i), songs, songs, wave_nT, np.zeros((CLIPS, 1), np.float32))
        for i, wave_nT in enumerate(waves)
    ]
    busy = torch.randn(512, 512, device=device)
    with GroupsAhead(iter(groups), device) as ahead:
        for i, group in enumerate(ahead):
            busy = busy @ busy / busy.norm()
            sent_nT = torch.as_tensor(group.sent_nT)
            assert (group.id.group, sent_nT.device.type, sent_nT.dtype) == (i, device.type, torch.int16)
            assert torch.equal(sent_nT.cpu(), torch.from_numpy(waves[i]))
    assert torch.isfinite(busy).all()


def check_one_rank(device: torch.device, backend: str) -> None:
    """The collectives of a run, on the process group of one rank that the engine trains with."""
    assert (dist.get_backend(), dist.get_world_size()) == (backend, 1)
    values = torch.arange(5, dtype=torch.float64, device=device)
    dist.all_reduce(values)
    assert values.tolist() == [0, 1, 2, 3, 4]
    found: list[Any] = [None]
    dist.all_gather_object(found, {"rank": 0})
    assert found == [{"rank": 0}]
    engine = make_engine("spectrogram", device, "fp32")
    assert isinstance(engine.module, nn.Module)
    assert engine.sum_over_ranks(1.5, 2.0) == [1.5, 2.0]
    dist.barrier()
