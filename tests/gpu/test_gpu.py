"""A GPU does what the CPU does: every model, training in bf16, resuming, the next group's copy, and NCCL."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import devices

from genrescale.models import MODELS

pytestmark = pytest.mark.gpu
TRAINED = ("waveform", "spectrogram", "short_chunk_res", "lstm", "ssast")


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_is_on_a_gpu_what_it_is_on_a_cpu(gpu: torch.device, name: str):
    devices.check_model(name, gpu)


@pytest.mark.parametrize("name", TRAINED)
def test_bf16_trains(gpu: torch.device, nccl: None, name: str):
    devices.check_bf16(name, gpu)


@pytest.mark.parametrize("name", TRAINED)
def test_a_resumed_run_goes_on_as_if_nothing_had_been(gpu: torch.device, nccl: None, name: str, tmp_path: Path):
    devices.check_resumed(name, gpu, tmp_path)


def test_the_next_group_is_copied_while_the_gpu_computes(gpu: torch.device):
    devices.check_prefetch(gpu)


def test_nccl_with_one_rank(gpu: torch.device, nccl: None):
    devices.check_one_rank(gpu, "nccl")
