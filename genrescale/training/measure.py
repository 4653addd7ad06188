"""What a step of a model costs on this machine: seconds and memory of a clip, measured in seconds with two clips.

Shapes: B clips, T samples.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from genrescale.audio import seconds_to_len
from genrescale.config import RunConfig
from genrescale.models import build_model

CLIPS = 2
PATIENCE_S = 3.0  # a first try that took longer is not repeated
_FLOAT = 4  # bytes
_COPIES = 4  # of each weight while Adam trains: the weight, its gradient and two moments


@dataclass(frozen=True)
class StepCost:
    """``clips_per_s`` of training in one process, ``clip_bytes`` that a clip's activations take, and the weights."""

    clips_per_s: float
    clip_bytes: float
    num_params: int

    def memory(self, group: int) -> float:
        """Bytes of weights, gradients, optimiser and the activations of one group, which are there at a time."""
        return _COPIES * _FLOAT * self.num_params + group * self.clip_bytes

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes that a finished run leaves: a checkpoint (weights, moments, best weights) and the model."""
        return (_COPIES + 1) * _FLOAT * self.num_params


def measure_step(run: RunConfig, num_tags: int, threads: int, use_gpu: bool) -> StepCost:
    """Train the run's model on two clips of noise, once to warm up and once by the clock."""
    device = torch.device("cuda" if use_gpu else "cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model = build_model(run.model.name, num_tags, **run.model.dials).to(device).train()
        wave_BT = 0.1 * torch.randn(CLIPS, seconds_to_len(run.data.crop_s), device=device)
        saved: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: _counted(t, saved), lambda t: t):
            seconds = _step(model, wave_BT, use_gpu)
        if seconds < PATIENCE_S:
            seconds = _step(model, wave_BT, use_gpu)
        num_params = sum(weight.numel() for weight in model.parameters())
        return StepCost(CLIPS / seconds, max(0, sum(saved) - _FLOAT * num_params) / CLIPS, num_params)
    finally:
        torch.set_num_threads(before)


def _counted(tensor: torch.Tensor, saved: list[int]) -> torch.Tensor:
    saved.append(tensor.numel() * tensor.element_size())
    return tensor


def _step(model: torch.nn.Module, wave_BT: torch.Tensor, use_gpu: bool) -> float:
    began = time.perf_counter()
    model(wave_BT).sum().backward()
    if use_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - began
