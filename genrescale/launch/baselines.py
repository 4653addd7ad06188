"""The baselines of a sweep, or of a corpus without one, on the connected Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence

from genrescale.baselines.distribute import Tasks, extract_vectors
from genrescale.baselines.run import Ended, baselines_of, memory_text, run_baselines
from genrescale.config import DataConfig, RunConfig
from genrescale.config.baselines import BaselinesConfig
from genrescale.data.manifest import Manifest
from genrescale.results.baseline import TREES
from genrescale.storage.lease import Claim
from genrescale.storage.store import Store
from genrescale.training.select import select_data


def train_baselines(
    config: BaselinesConfig,
    sizes: Sequence[int],
    data: DataConfig,
    seed: int,
    manifest: Manifest,
    files: Store,
    claim: Claim | None = None,
) -> Ended:
    """Train what is missing of the baselines at these sizes; ``data`` gives the validation songs and kind of labels.

    A baseline that fails is told, and noted beside the rows: the others go on.
    """
    runs = [_run(data, size, seed) for size in sorted(sizes)]
    return run_baselines(baselines_of(config), runs, manifest, files, extract_vectors, Tasks(), claim)


def _run(data: DataConfig, size: int, seed: int) -> RunConfig:
    """What a baseline takes of a run: neither crops nor samplers, so that these do not change what it is called."""
    return RunConfig(data=DataConfig(size=size, val_songs=data.val_songs, labels=data.labels), seed=seed)


def memory_lines(config: BaselinesConfig, size: int, data: DataConfig, manifest: Manifest) -> list[str]:
    """What each baseline holds in memory at its largest size, a line each."""
    rows = select_data(_run(data, size, 0), manifest).rows
    num_songs = sum(map(len, rows.values()))
    lines = []
    for baseline in baselines_of(config):
        extractor = baseline.extractor()
        lines.append(f"{baseline.name}: {memory_text(num_songs, len(extractor.columns), baseline.name == TREES)}")
    return lines
