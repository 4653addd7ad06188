"""Runs the training loop in one or several processes, without Ray, for tests."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

from genrescale.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SiteConfig, run_from_dict
from genrescale.data.manifest import read_manifest
from genrescale.data.reading.plan import score_items
from genrescale.data.reading.source import local_stream
from genrescale.training.assemble import build_loop
from genrescale.training.select import select_data

SMALL = {"backend_filters": 16, "backend_units": 24, "frontend_width": 0.125}


def small_run(model: str = "waveform", *, steps: int = 20, size: int = 45, batch: int = 16, **optim: Any) -> RunConfig:
    """Groups of 4 clips, four to a step; 45 songs leave a last step of 13 clips in groups of 4, 4 and 5."""
    return RunConfig(
        model=ModelConfig(model, dict(SMALL)),
        data=DataConfig(size=size, crop_s=3.0, batch=batch, group=4),
        optim=OptimConfig(**{"max_steps": steps, "validate_every": 10, "patience_steps": 0, **optim}),
    )


def run_world(
    run: RunConfig,
    corpus: str,
    out: Path,
    workers: int = 1,
    site: dict[str, Any] | None = None,
    stop_at: int = 0,
    resume: Path | None = None,
) -> dict[str, Any]:
    """Train on ``workers`` processes; rank 0's losses, curve and test scores.

    ``stop_at`` ends at that step with a checkpoint in ``out``/checkpoint; ``resume`` continues from such a folder.
    """
    out.mkdir(parents=True, exist_ok=True)
    arguments = (asdict(run), corpus, str(out), workers, site or {}, stop_at, str(resume) if resume else "")
    # every rank is forked from one process that has imported PyTorch and DeepSpeed: seconds for each
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers.worlds", "deepspeed"])
    processes = [context.Process(target=_rank, args=(r, *arguments)) for r in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    if any(codes):
        raise RuntimeError(f"ranks ended with {codes}")
    return json.loads((out / "result.json").read_text())


def _rank(
    rank: int, run: dict[str, Any], corpus: str, out: str, workers: int, site: dict[str, Any], stop_at: int, resume: str
) -> None:
    store = FileStore(f"{out}/store", workers)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=workers, timeout=timedelta(seconds=120))
    config = run_from_dict(run)
    data = select_data(config, read_manifest(corpus))
    source = data.source()
    losses: list[float] = []

    def report(metrics: dict[str, float | None], save: Any) -> None:
        if metrics["step"] == stop_at:
            save(Path(out) / "checkpoint")
            loop.state.stopped_early = True

    site_config, vocabulary = SiteConfig(workers=workers, **site), data.manifest.vocabulary
    loop = build_loop(config, site_config, vocabulary, data.plan, report, data.class_counts_K)
    if resume:
        loop.load(Path(resume))
    step = loop.engine.train_step

    def recorded(*arguments: Any) -> torch.Tensor:
        share = step(*arguments)
        losses.append(loop.engine.sum_over_ranks(float(share))[0])
        return share

    loop.engine.train_step = recorded  # type: ignore[method-assign]
    outcome = loop.train(local_stream(source, data.plan.items(rank, workers, loop.state.step)))
    items = list(score_items(data.test, rank, workers))
    scores = loop.engine.gather(loop.score_best(data.test, items, local_stream(source, items)))
    if rank == 0:
        songs = sorted(int(song) for part in scores for song in part.songs_N)
        means = [float(part.score_NK.sum()) for part in scores]
        result = {"losses": losses, "curve": outcome.state.curve, "songs": songs, "score_sum": sum(means)}
        Path(out, "result.json").write_text(json.dumps(result))
    dist.barrier()
    dist.destroy_process_group()
