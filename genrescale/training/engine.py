"""The engine: a model, its optimiser and its precision under DeepSpeed. The only user of deepspeed.

The unit of work is the group (DESIGN: the same run on 1, 2 or 8 workers is the same run). Each group is one
micro-batch: its loss is weighted by its share of the step's clips, its noise is seeded by (seed, step, group), and
batch norm's running statistics are averaged over the groups of the step on all ranks.

Shapes: B clips of a group, T samples, K tags.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from glob import has_magic
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore

from genrescale.audio import PCM_SCALE
from genrescale.config import AugmentConfig, OptimConfig
from genrescale.config.numbers import ceil_div
from genrescale.models import count_parameters
from genrescale.training.augment import augment
from genrescale.training.checkpoint_files import CheckpointError, load_tensors
from genrescale.training.contrast import Contrast, classes
from genrescale.training.deepspeed_settings import (
    checkpoint_classes,
    deepspeed_settings,
    use_no_kernels,
    write_stages_as_numbers,
)
from genrescale.training.optimizers import build_optimizer
from genrescale.training.parameters import choose_trained
from genrescale.training.step_clock import NoClock, StepClock

Loss = Callable[[Tensor, Tensor], Tensor]
_CHECKPOINT_TAG = "last"
_LAYOUT_FILE = "layout.json"


@dataclass(frozen=True)
class TrainGroup:
    """One group on its way into the model: ``wave_BT`` int16, ``tags_BK`` float32, its number within the step.

    ``wave_BT`` may be on the device (``genrescale.training.prefetch``).
    ``share`` is its part of the step's clips; a rank that has no group left in a step trains on one of share 0, so
    that all ranks run the same collectives. ``real_B`` marks real clips, for contrastive training.
    """

    group: int
    wave_BT: np.ndarray | Tensor
    tags_BK: np.ndarray
    share: float
    real_B: np.ndarray | None = None


def noise_seed(seed: int, step: int, group: int) -> int:
    """The seed of a group's dropout: the same on whichever worker the group runs."""
    digest = hashlib.sha256(f"{seed}/{step}/{group}".encode()).digest()
    return int.from_bytes(digest[:7], "little")


@contextmanager
def single_process_group() -> Iterator[None]:
    """A process group of one, for running the loop without Ray. Inside an existing group it does nothing."""
    if dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo", store=HashStore(), rank=0, world_size=1, timeout=timedelta(minutes=5))
    try:
        yield
    finally:
        dist.destroy_process_group()


def initialise_process(use_gpu: bool, threads: int, seed: int) -> torch.device:
    """Prepare this process: its device, its threads and the seed from which the model's weights are drawn."""
    os.environ.setdefault("LOCAL_RANK", "0")  # deepspeed refuses to start without it
    os.environ["DS_ACCELERATOR"] = "cuda" if use_gpu else "cpu"
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    return torch.device("cuda", torch.cuda.current_device()) if use_gpu else torch.device("cpu")


class Engine:
    """Trains one model on groups of clips and scores windows with it."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        optim: OptimConfig,
        augmentation: AugmentConfig,
        device: torch.device,
        *,
        precision: str,
        zero_stage: int,
        seed: int,
        group: int,
        groups_per_step: int,
        num_tags: int | None = None,
        contrast: Contrast | None = None,
    ) -> None:
        import deepspeed  # takes seconds, and must see DS_ACCELERATOR

        use_no_kernels()
        write_stages_as_numbers()
        self.device, self.rank, self.world_size = device, dist.get_rank(), dist.get_world_size()
        self._loss, self._augmentation, self._contrast = loss, augmentation, contrast
        self.clock: StepClock = NoClock()  # of the parts of train_step
        self._seed, self._zero_stage = seed, zero_stage
        model = model.to(device)
        self.num_params = count_parameters(model)
        trained = choose_trained(model, optim, num_tags)
        self._frozen_norms = trained.frozen_norms
        self._optimizer = build_optimizer(trained.groups, optim)
        config = deepspeed_settings(
            precision, zero_stage, optim.clip_norm, group, ceil_div(groups_per_step, self.world_size)
        )
        deepspeed.init_distributed(dist_backend=dist.get_backend(), verbose=False)
        # DeepSpeed's engine hands attributes through to the module, which no type checker can follow.
        self._engine: Any = deepspeed.initialize(model=model, optimizer=self._optimizer, config=config)[0]
        self._engine.checkpoint_engine.load = partial(load_tensors, classes=checkpoint_classes())
        self._running = _running_statistics(self.module)
        # Which worker has which group decides the order of a sum, and the rounding of fp32 sums grows from step to
        # step: after 15 steps losses differ by 1e-2. Summed in float64 they round to the same gradient on any number
        # of workers. ZeRO 1 to 3 reduce inside DeepSpeed, in fp32.
        self._sums_exactly = zero_stage == 0 and (groups_per_step > 1 or self.world_size > 1)
        self._trained = [parameter for group in trained.groups for parameter in group["params"]]
        self._gradient_sum = (
            [torch.zeros_like(parameter, dtype=torch.float64) for parameter in self._trained]
            if self._sums_exactly
            else []
        )

    @property
    def module(self) -> nn.Module:
        return self._engine.module

    def set_lr(self, lr: float, sgd: bool = False) -> None:
        """The rate of the next steps, scaled for each layer, and whether SGD makes them instead of Adam."""
        for parameters in self._engine.optimizer.param_groups:
            parameters["lr"] = lr * parameters["lr_scale"]
            parameters["sgd"] = sgd

    def train_step(self, step: int, groups: Iterable[TrainGroup], count: int = 1) -> Tensor:
        """One optimiser step over this rank's ``count`` groups; every rank brings the same number.

        A group is asked for when the one before it has been computed with, or on a GPU, begun to be.
        Returns this rank's share of the step's mean loss, float64: the sum over ranks is the mean over the step's
        clips. It stays on the device: who reads it waits for the step, who does not can fetch the next step's clips.
        """
        engine = self._engine
        engine.train()
        for norm in self._frozen_norms:
            norm.eval()
        start = [buffer.clone() for buffer in self._running]
        running_sum = [torch.zeros_like(buffer, dtype=torch.float64) for buffer in self._running]
        loss_share = torch.zeros((), dtype=torch.float64, device=self.device)
        self.clock.begin()
        for last, group in zip((i == count - 1 for i in range(count)), groups, strict=True):
            self.clock.mark("data_wait")
            engine.set_gradient_accumulation_boundary(not self._sums_exactly and last)
            torch.manual_seed(noise_seed(self._seed, step, group.group))
            wave_BT, tags_BK = augment(self.to_wave(group.wave_BT), self._to_device(group.tags_BK), self._augmentation)
            self.clock.mark("copy")
            loss = self._loss(engine(wave_BT), tags_BK)
            if self._contrast and group.real_B is not None:
                class_B = self._to_device(classes(group.tags_BK))
                loss = self._contrast.loss(loss, class_B, self._to_device(group.real_B))
            loss = loss * group.share
            self.clock.mark("forward")
            engine.backward(loss if self._sums_exactly else loss * self.world_size, scale_wrt_gas=False)
            self.clock.mark("backward")
            if self._sums_exactly:
                self._take_gradients()
            else:
                engine.step()
            loss_share += loss.detach()
            for total, buffer, before in zip(running_sum, self._running, start, strict=True):
                total.add_(buffer, alpha=group.share)
                buffer.copy_(before)
            self.clock.mark("optimizer")
        self._set_summed(self._running, running_sum)
        if self._sums_exactly:
            self._step_on_sum()
        self.clock.mark("optimizer")
        return loss_share

    def _take_gradients(self) -> None:
        """Move a group's gradients into the step's sum."""
        for total, parameter in zip(self._gradient_sum, self._trained, strict=True):
            if parameter.grad is not None:
                total.add_(parameter.grad)
                parameter.grad = None

    def _step_on_sum(self) -> None:
        """The optimiser's step on the sum of the gradients of all groups of all ranks."""
        for parameter in self._trained:
            parameter.grad = torch.empty_like(parameter)
        targets = [parameter.grad for parameter in self._trained if parameter.grad is not None]
        self._set_summed(targets, self._gradient_sum)
        for total in self._gradient_sum:
            total.zero_()
        self._engine.set_gradient_accumulation_boundary(True)
        self._engine.step()

    @torch.no_grad()
    def _set_summed(self, targets: Sequence[Tensor], sums: Sequence[Tensor]) -> None:
        """Write the float64 ``sums``, added over all ranks, into ``targets``."""
        if not targets:
            return
        flat = torch.cat([total.flatten() for total in sums])
        if self.world_size > 1:
            self.clock.mark("optimizer")
            dist.all_reduce(flat)
            self.clock.mark("collectives")
        parts = flat.split([target.numel() for target in targets])
        for target, part in zip(targets, parts, strict=True):
            target.copy_(part.view_as(target))

    @torch.no_grad()
    def logits(self, wave_BT: np.ndarray | Tensor, group: int) -> Tensor:
        """Logits (B, K) in evaluation mode, float32. At ZeRO 3 all ranks must call it equally often.

        What a model draws even then (the maskings of a pretext task) follows from ``group`` alone, so that losses of
        different steps and runs can be compared.
        """
        self._engine.eval()
        torch.manual_seed(noise_seed(0, -1, group))
        return self._engine(self.to_wave(wave_BT)).float()

    def to_wave(self, wave_BT: np.ndarray | Tensor) -> Tensor:
        """int16 (B, T) to float32 in [-1, 1) on the device: half the bytes travel, if they are not there already."""
        if isinstance(wave_BT, np.ndarray):
            if self.device.type == "cpu":
                return torch.from_numpy(np.multiply(wave_BT, np.float32(PCM_SCALE), dtype=np.float32))
            wave_BT = self._to_device(wave_BT)
        return wave_BT.float().mul_(PCM_SCALE)

    def _to_device(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, non_blocking=True)

    def sum_over_ranks(self, *values: float) -> list[float]:
        """Each value summed over all ranks, in float64."""
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.world_size > 1:
            dist.all_reduce(total)
        return total.tolist()

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, in the order of ranks, on every rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def save(self, folder: Path) -> None:
        """Write this rank's part of the training state under ``folder``. All ranks call it."""
        self._engine.save_checkpoint(str(folder), tag=_CHECKPOINT_TAG)
        if self.rank == 0:
            # DeepSpeed adds scripts for people to run, which whoever can write to the checkpoint could change
            for script in folder.glob("*.py"):
                script.unlink()
            (folder / _LAYOUT_FILE).write_text(json.dumps([self._zero_stage, self.world_size]))

    def load(self, folder: Path) -> None:
        """Continue from ``save``. At ZeRO 0 on any number of workers; else on as many as wrote it (ValueError)."""
        written = written_layout(folder)
        if written != (self._zero_stage, self.world_size) and {self._zero_stage, written[0]} != {0}:
            raise ValueError(
                f"the checkpoint was written by {written[1]} worker(s) at ZeRO stage {written[0]}, this run has "
                f"{self.world_size} at stage {self._zero_stage}; continue as it began, or delete the run's folder "
                "under checkpoints/ to train it anew"
            )
        with _plain_name(folder) as path:
            self._engine.load_checkpoint(str(path), tag=_CHECKPOINT_TAG)

    @property
    def gathers(self) -> bool:
        """True where every forward pass is a collective of all ranks (ZeRO 3: each holds a part of every weight)."""
        return self._zero_stage == 3

    @contextmanager
    def _whole(self, writes: bool = False) -> Iterator[None]:
        """The module with whole parameters. All ranks enter it; with ``writes``, rank 0's values are kept."""
        import deepspeed

        parameters = list(self.module.parameters())
        with deepspeed.zero.GatheredParameters(parameters, modifier_rank=0 if writes else None, enabled=self.gathers):
            yield

    def weights(self) -> dict[str, Tensor]:
        """The module's parameters and buffers on the CPU. All ranks call it."""
        with self._whole():
            return {name: value.detach().cpu().clone() for name, value in self.module.state_dict().items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Put ``weights`` into the module for scoring; training goes on from them after ``restart`` only."""
        with self._whole(writes=True):
            self.module.load_state_dict(weights)

    def restart(self, weights: dict[str, Tensor]) -> None:
        """Train on from ``weights`` with an optimiser that remembers nothing. All ranks call it."""
        self.load_weights(weights)
        if self._zero_stage:
            self._engine.optimizer.refresh_fp32_params()  # ZeRO steps on copies of its own
        self._optimizer.state.clear()

    def close(self) -> None:
        self._engine.destroy()


@contextmanager
def _plain_name(folder: Path) -> Iterator[Path]:
    """Yield another path of ``folder`` if its own holds * ? or [: DeepSpeed looks for its files by a pattern."""
    if not has_magic(str(folder)):
        yield folder
        return
    with TemporaryDirectory(prefix="genrescale-") as plain:
        link = Path(plain, "checkpoint")
        link.symlink_to(folder.absolute())
        yield link


def written_layout(folder: Path) -> tuple[int, int]:
    """The ZeRO stage and the number of workers that wrote a checkpoint. Raises CheckpointError if it does not say."""
    try:
        stage, workers = map(int, json.loads((folder / _LAYOUT_FILE).read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"the checkpoint is refused: its {_LAYOUT_FILE} cannot be read ({error})") from None
    return stage, workers


def _running_statistics(module: nn.Module) -> list[Tensor]:
    """The running mean and variance of every batch norm."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var) if buffer is not None]
