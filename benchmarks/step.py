"""A training step, ours against plain PyTorch: ``python benchmarks/step.py [device=auto] [threads=2] [rounds=5]``.

``device=auto`` is the GPU where there is one; the two models are compared with one another on the CPU in any case.

Ours is what a training run does: the engine's step of our model in bf16 (fp32 masters), with the settings of the memory
allocator that a private cluster gives its workers. Plain is a loop in fp32 over the same architecture as one writes it
with PyTorch's layers (_step_plain.py). Both have the same weights (their outputs in training are compared first), the
same clips, Adam, and a process of their own with the same number of threads; they take steps in turns. ``allocator=1``
gives the plain process our allocator's settings as well.

``GFLOP/s`` counts convolutions and matrix products, forward and backward; ``of bf16``, ``of fp32`` is the share of the
rate of a large matrix product in that type, measured in the same run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

CASES = [(name, seconds) for name in ("waveform", "spectrogram", "short_chunk_res") for seconds in (15, 3)]
CLIPS = {15: 4, 3: 16}
NUM_TAGS, DROPOUT, LR = 50, 0.5, 1e-4
GEMM = {"cpu": 2048, "cuda": 8192}
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}


class Side:
    """A process that takes the steps of one side."""

    def __init__(self, side: str, device: str, threads: int, ours_allocator: bool) -> None:
        settings = {"OMP_NUM_THREADS": str(threads)} | (ALLOCATOR if ours_allocator else {})
        self._process = subprocess.Popen(
            [sys.executable, __file__, f"side={side}", f"device={device}", f"threads={threads}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name not in ALLOCATOR} | settings,
        )

    def ask(self, *question: Any) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(question), file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("answer "):  # libraries print lines of their own
                return json.loads(line.removeprefix("answer "))
        raise RuntimeError("the process of one side ended")

    def end(self) -> None:
        self._process.terminate()


def batch(seconds: int) -> tuple[Any, Any]:
    """int16 clips (B, T) and labels (B, K)."""
    import numpy as np

    rng = np.random.default_rng(0)
    clips = CLIPS[seconds]
    wave_BT = (3000 * rng.standard_normal((clips, 16_000 * seconds))).astype(np.int16)
    return wave_BT, (rng.random((clips, NUM_TAGS)) < 0.1).astype(np.float32)


def our_step(name: str, seconds: int, device_name: str) -> Callable[[], float]:
    import torch.nn.functional as F

    from genrescale.config import AugmentConfig, OptimConfig
    from genrescale.models import build_model
    from genrescale.training.engine import Engine, TrainGroup, initialise_process

    device = initialise_process(device_name == "cuda", threads=int(os.environ["OMP_NUM_THREADS"]), seed=0)
    model = build_model(name, NUM_TAGS, dropout=DROPOUT)
    clips = CLIPS[seconds]
    engine = Engine(
        model,
        lambda logits_BK, tags_BK: F.binary_cross_entropy_with_logits(logits_BK.float(), tags_BK),
        OptimConfig(lr=LR),
        AugmentConfig(),
        device,
        **{"precision": "bf16", "zero_stage": 0, "seed": 0, "group": clips, "groups_per_step": 1},
    )
    group = TrainGroup(0, *batch(seconds), share=1.0)
    return lambda: float(engine.train_step(0, [group]))


def plain_step(name: str, seconds: int, device_name: str) -> Callable[[], float]:
    import torch
    import torch.nn.functional as F
    from _step_plain import plain_copy

    from genrescale.models import build_model

    torch.manual_seed(0)
    ours = build_model(name, NUM_TAGS, dropout=DROPOUT)
    compare(name, ours, seconds)
    model = plain_copy(name, ours, NUM_TAGS, DROPOUT).to(device_name)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    wave_BT, tags_BK = (torch.from_numpy(values).to(device_name) for values in batch(seconds))

    def step() -> float:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(wave_BT.float() / 32_768), tags_BK)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def compare(name: str, ours: Any, seconds: int) -> None:
    """Refuse two models whose outputs in training differ, or whose gradients do."""
    import torch
    from _step_plain import plain_copy

    plain = plain_copy(name, ours, NUM_TAGS, 0.0)
    like_ours = type(ours)(NUM_TAGS, dropout=0.0)
    like_ours.load_state_dict(ours.state_dict())
    wave_BT = torch.from_numpy(batch(min(seconds, 3))[0][:4]).float() / 32_768
    outputs = [model.train()(wave_BT) for model in (like_ours, plain)]
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-3)
    for output in outputs:
        output.square().sum().backward()
    # as a whole: that of a bias in front of a batch norm is rounding alone
    gradients = [
        torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
        for model in (like_ours, plain)
    ]
    difference = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
    if difference > 1e-2:
        raise RuntimeError(f"{name}: the gradients of the two models differ by {difference:.2g} of their length")


def flops(name: str, seconds: int) -> float:
    """Of one step, forward and backward."""
    import torch
    from _step_plain import PLAIN
    from torch.utils.flop_counter import FlopCounterMode

    wave_BT = torch.from_numpy(batch(seconds)[0][:2]).float()
    with FlopCounterMode(display=False) as counter:
        PLAIN[name](NUM_TAGS, DROPOUT)(wave_BT).sum().backward()
    return counter.get_total_flops() * CLIPS[seconds] / 2


def matrix_rate(dtype_name: str, device_name: str) -> float:
    """FLOP/s of a large matrix product: the best of five."""
    import torch

    size = GEMM[device_name]
    a = torch.randn(size, size, device=device_name).to(getattr(torch, dtype_name))
    # the sum that is read is what waits for a GPU; it costs a thousandth of the product
    return max(2 * size**3 / seconds_of(lambda: float((a @ a).sum())) for _ in range(5))


def seconds_of(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def serve(side: str, device: str, threads: int) -> None:
    """Answers the questions of ``Side.ask``."""
    import torch

    from genrescale.training.engine import single_process_group

    torch.set_num_threads(threads)
    step: Callable[[], float] | None = None
    build: Callable[..., Callable[[], float]] = our_step if side == "ours" else plain_step
    with single_process_group():
        for line in sys.stdin:
            question, *rest = json.loads(line)
            if question == "build":
                step = build(*rest, device)
                answer: Any = step()
            elif question == "step" and step is not None:
                answer = seconds_of(step)
            elif question == "flops":
                answer = flops(rest[0], rest[1])
            else:
                answer = matrix_rate(rest[0], device)
            print("answer", json.dumps(answer), flush=True)


def measure(ours: Side, plain: Side, name: str, seconds: int, rounds: int) -> tuple[float, float, float]:
    """Median seconds of a step of both, and the median of the ratios of neighbours."""
    for side in (ours, plain):
        side.ask("build", name, seconds)
        side.ask("step")
    pairs = []
    for turn in range(rounds):
        order = (ours, plain) if turn % 2 else (plain, ours)
        times = {side: side.ask("step") for side in order}
        pairs.append((times[ours], times[plain]))
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    return medians[0], medians[1], statistics.median(b / a for a, b in pairs)


def resolve(device: str) -> str:
    """``auto`` as the GPU where there is one."""
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device={device} is none of auto, cpu, cuda")
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    """Measures and prints."""
    settings = {
        "device": "auto",
        "threads": str(len(os.sched_getaffinity(0))),
        "rounds": "5",
        "allocator": "0",
        "side": "",
    }
    settings |= dict(argument.split("=", 1) for argument in sys.argv[1:])
    threads = int(settings["threads"])
    if settings["side"]:
        serve(settings["side"], settings["device"], threads)
        return
    device = resolve(settings["device"])
    ours = Side("ours", device, threads, True)
    plain = Side("plain", device, threads, settings["allocator"] == "1")
    figures: dict[str, float] = {}
    try:
        rates = {dtype: ours.ask("rate", dtype) for dtype in ("bfloat16", "float32")}
        products = ", ".join(f"{dtype} {rate / 1e9:.0f} GFLOP/s" for dtype, rate in rates.items())
        print(f"{device}, {threads} threads; matrix products: {products}")
        columns = f"{'crops/s':>8}{'GFLOP/s':>9}"
        print(f"{'':<19} | {columns}{'of bf16':>9} | {columns.replace('crops/s', '  plain')}{'of fp32':>9} | vs plain")
        for name, seconds in CASES:
            our_s, plain_s, ratio = measure(ours, plain, name, seconds, int(settings["rounds"]))
            count, clips = plain.ask("flops", name, seconds), CLIPS[seconds]
            print(
                f"{name:<16}{seconds:>3} | {clips / our_s:>8.1f}{count / our_s / 1e9:>9.0f}"
                f"{count / our_s / rates['bfloat16']:>9.2f} | {clips / plain_s:>8.1f}{count / plain_s / 1e9:>9.0f}"
                f"{count / plain_s / rates['float32']:>9.2f} | {ratio:.2f}",
                flush=True,
            )
            which = name if seconds == 15 else f"{name}_{seconds}s"
            figures |= {
                f"{which}_vs_plain": round(ratio, 2),
                f"{which}_crops_per_s": round(clips / our_s, 2),
                f"{which}_of_matrix_rate": round(count / our_s / rates["bfloat16"], 3),
            }
    finally:
        ours.end()
        plain.end()
    print(json.dumps({"benchmark": "step", "figures": figures}))


if __name__ == "__main__":
    main()
