"""The baselines of a sweep, or of a corpus without one, on the connected Ray cluster."""

from __future__ import annotations

from collections.abc import Sequence

from genrescale.baselines.run import Ended, baselines_of, run_baselines
from genrescale.config import DataConfig, RunConfig
from genrescale.config.baselines import BaselinesConfig
from genrescale.data.manifest import Manifest
from genrescale.storage.lease import Claim
from genrescale.storage.store import Store


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
    from genrescale.baselines.distribute import Tasks, extract_vectors

    chosen = [DataConfig(size=size, val_songs=data.val_songs, labels=data.labels) for size in sorted(sizes)]
    runs = [RunConfig(data=of_size, seed=seed) for of_size in chosen]
    return run_baselines(baselines_of(config), runs, manifest, files, extract_vectors, Tasks(), claim)
