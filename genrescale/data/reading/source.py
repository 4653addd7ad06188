"""A run's songs and plans, and the audio and labels of a group given its address. No Ray.

Shapes: n clips of a group, T samples of a crop, K tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from genrescale.audio import Split
from genrescale.data.manifest import located
from genrescale.data.reading.crops import SongTable, read_crops
from genrescale.data.reading.plan import Crops, GroupId, RunPlan, ScorePlan
from genrescale.data.reading.spans import ReadStats


@dataclass(frozen=True, eq=False)
class CropGroup:
    """One group as a worker receives it: ``wave_nT`` int16, ``labels_nK`` float32, ``songs_n`` rows of its table.

    ``starts_n`` are the crops' first samples. ``read`` holds the cost of reading them. ``ready_at`` is the
    ``time.time()`` when reading was done, 0 if not measured.
    """

    id: GroupId
    songs_n: np.ndarray
    starts_n: np.ndarray
    wave_nT: np.ndarray
    labels_nK: np.ndarray
    read: ReadStats = field(default_factory=ReadStats)
    ready_at: float = 0.0

    def __len__(self) -> int:
        return len(self.songs_n)


@dataclass(frozen=True, eq=False)
class StreamSource:
    """All that is needed to read a run's groups: the songs of each split, and the plans over them."""

    tables: dict[Split, SongTable]
    plan: RunPlan
    test: ScorePlan

    @property
    def crop_len(self) -> int:
        return self.plan.train.crop_len

    @property
    def is_local(self) -> bool:
        """Whether the shards are in a local folder; for a mix, whether its first shard is."""
        table = self.tables["train"]
        return located(table.store, table.shard_names[0])[0].local_path() is not None

    def crops(self, id: GroupId) -> Crops:
        return self.test.crops(id.step, id.group) if id.kind == "test" else self.plan.crops(id)

    def read(self, crops: Crops, out_nT: np.ndarray | None = None) -> tuple[np.ndarray, ReadStats]:
        """Read the audio of one group (n, T), into ``out_nT`` if given; also return the cost of reading it."""
        table, stats = self.tables[crops.id.kind], ReadStats()
        wave_nT = read_crops(table, crops.songs_n, crops.starts_n, self.crop_len, out_nT=out_nT, stats=stats)
        return wave_nT, stats

    def group(self, crops: Crops, wave_nT: np.ndarray, read: ReadStats, ready_at: float = 0.0) -> CropGroup:
        labels_nK = self.tables[crops.id.kind].labels_NK[crops.songs_n]
        return CropGroup(crops.id, crops.songs_n, crops.starts_n, wave_nT, labels_nK, read, ready_at)


def local_stream(source: StreamSource, items: Iterable[GroupId]) -> Iterator[CropGroup]:
    """Read groups in this process, without Ray: for tests and profiling."""
    for id in items:
        crops = source.crops(id)
        yield source.group(crops, *source.read(crops))


READ_CPUS = 0.25  # of a read task, which mostly waits and copies


def read_tasks(cpus: float) -> int:
    """Return how many read tasks run concurrently on ``cpus``."""
    return max(1, int(cpus / READ_CPUS))
