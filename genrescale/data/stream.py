"""Stream the verified crops of a plan through Ray Data to one training worker.

``song_stream`` makes a dataset of a worker's part of the plan. Each Ray task reads the crops of a few groups
(``genrescale.data.reading.crops``) and returns int16; conversion to float happens on the training device. The order of
the plan is kept, so a run resumes by starting the plan at a later step.

Memory use: a worker's stream holds up to READ_AHEAD_BYTES in its node's object store (briefly twice that, between two
datasets of the chain). Each of its read tasks holds TASK_BYTES plus the fetched bytes of the groups it reads
concurrently.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import pyarrow as pa
import ray
from ray.data import Dataset, ExecutionResources
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask
from ray.util.annotations import RayDeprecationWarning

from genrescale.audio import PCM_DTYPE, SAMPLE_BYTES
from genrescale.data.pacing import Pacing
from genrescale.data.reading.plan import Crops, GroupId
from genrescale.data.reading.source import READ_CPUS, CropGroup, StreamSource, read_tasks
from genrescale.data.reading.spans import ReadStats

TASK_BYTES = 120 << 20  # audio of one read task: each task costs the training worker's process 8 ms in Ray
READ_AHEAD_BYTES = 512 << 20  # object store memory for a worker's stream
CHAIN_TASKS = 512  # read tasks of one dataset
FAR_TASK_GROUPS = 8  # groups of a read task from a bucket: training waits for the first tasks
FAR_GROUPS_AT_ONCE = 3  # groups that a task reads from a bucket concurrently: verifies one while fetching others
MAX_TASK_RETRIES = 5  # if its process died; Ray Data's default is infinite, and a run would hang

_READ_FIELDS = [pa.field(name, pa.from_numpy_dtype(type(value))) for name, value in asdict(ReadStats()).items()]
_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("step", pa.int64()),
        ("group", pa.int64()),
        ("songs", pa.list_(pa.int64())),
        ("starts", pa.list_(pa.int64())),
        ("read", pa.struct(_READ_FIELDS)),
        ("ready_at", pa.float64()),
        ("wave", pa.large_binary()),
    ]
)


@lru_cache(maxsize=2)
def _shared_source(reference: _SourceRef) -> StreamSource:
    """Get the source, one copy per process, so that an epoch is drawn once."""
    return ray.get(reference.object_ref)


@dataclass(frozen=True)
class _SourceRef:
    object_ref: ray.ObjectRef[StreamSource]


def _read_groups(reference: _SourceRef, ids: Sequence[GroupId]) -> list[pa.Table]:
    """Read groups into one table. Their audio is read into one Arrow buffer, which becomes a column without a copy."""
    source = _shared_source(reference)
    parts = [source.crops(id) for id in ids]
    bounds = np.cumsum([0, *(len(crops) for crops in parts)])
    # Arrow's allocator reuses the pages of the previous task: fresh pages cost more than the copy into them
    buffer = pa.allocate_buffer(int(bounds[-1]) * source.crop_len * SAMPLE_BYTES)
    wave_nT = np.frombuffer(buffer, PCM_DTYPE).reshape(bounds[-1], source.crop_len)
    outs = [wave_nT[low:high] for low, high in itertools.pairwise(bounds)]
    with ThreadPoolExecutor(1 if source.is_local else FAR_GROUPS_AT_ONCE) as pool:
        stats = [read for _, read in pool.map(source.read, parts, outs)]
    offsets = bounds * source.crop_len * SAMPLE_BYTES
    columns = [
        [id.kind for id in ids],
        [id.step for id in ids],
        [id.group for id in ids],
        [crops.songs_n for crops in parts],
        [crops.starts_n for crops in parts],
        [asdict(read) for read in stats],
        [time.time()] * len(ids),
    ]
    arrays = [pa.array(column, f.type) for column, f in zip(columns, _SCHEMA, strict=False)]
    buffers = [None, pa.py_buffer(offsets.astype(np.int64)), buffer]
    arrays.append(pa.Array.from_buffers(pa.large_binary(), len(ids), buffers))
    return [pa.table(arrays, schema=_SCHEMA)]


class CropSource(Datasource):
    """A Ray Data source. Each of its read tasks reads the crops of consecutive groups."""

    def __init__(self, reference: _SourceRef, items: Sequence[GroupId], groups_per_task: int, group_bytes: int) -> None:
        super().__init__()
        self._reference, self._items = reference, items
        self._groups_per_task, self._group_bytes = groups_per_task, group_bytes

    def get_name(self) -> str:
        return "Crops"

    def estimate_inmemory_data_size(self) -> int:
        return len(self._items) * self._group_bytes

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: object = None
    ) -> list[ReadTask]:
        del parallelism, data_context  # the plan decides what a task reads
        bounds = itertools.pairwise(task_bounds(len(self._items), self._groups_per_task))
        return [self._task(self._items[low:high], per_task_row_limit) for low, high in bounds]

    def _task(self, ids: Sequence[GroupId], row_limit: int | None) -> ReadTask:
        reference = self._reference
        size = len(ids) * self._group_bytes
        metadata = BlockMetadata(num_rows=len(ids), size_bytes=size, input_files=None, exec_stats=None)
        return ReadTask(lambda: _read_groups(reference, ids), metadata, _SCHEMA, row_limit)


def task_bounds(num_groups: int, most: int) -> list[int]:
    """Return the boundaries of the read tasks over ``num_groups`` groups: sizes 1, 2, 4, ... up to ``most``.

    A task returns its groups together, and training waits for the first task, so the first ones are small.
    """
    bounds, length = [0], 1
    while bounds[-1] < num_groups:
        bounds.append(min(bounds[-1] + min(length, most), num_groups))
        length *= 2
    return bounds


def _group_bytes(source: StreamSource) -> int:
    return max(2, source.plan.train.group) * source.crop_len * SAMPLE_BYTES


def _groups_per_task(source: StreamSource) -> int:
    groups = max(1, TASK_BYTES // _group_bytes(source))
    return groups if source.is_local else min(groups, FAR_TASK_GROUPS)


def song_stream(
    source: StreamSource, reference: ray.ObjectRef[StreamSource], items: Sequence[GroupId], cpus: float
) -> Dataset:
    """Make a dataset of ``items``, one row per group, in the plan's order: the part of one worker.

    ``cpus`` limits the number of concurrent read tasks.
    """
    group_bytes, groups_per_task = _group_bytes(source), _groups_per_task(source)
    crop_source = CropSource(_SourceRef(reference), items, groups_per_task, group_bytes)
    num_tasks = len(task_bounds(len(items), groups_per_task)) - 1
    with warnings.catch_warnings():
        # Ray 2.60 deprecates ray_remote_args but has no other way to limit retries
        warnings.simplefilter("ignore", RayDeprecationWarning)
        dataset = ray.data.read_datasource(
            crop_source,
            num_cpus=READ_CPUS,
            override_num_blocks=num_tasks,
            concurrency=min(read_tasks(cpus), num_tasks),
            ray_remote_args={"max_retries": MAX_TASK_RETRIES},
        )
    options = dataset.context.execution_options
    options.preserve_order = True
    options.resource_limits = ExecutionResources(object_store_memory=READ_AHEAD_BYTES)
    dataset.context.custom_execution_callback_classes = [Pacing]  # type: ignore[list-item]
    dataset.context.execution_no_progress_timeout_s = -1  # see Pacing
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    return dataset


def iter_groups(source: StreamSource, dataset: Dataset) -> Generator[CropGroup, None, None]:
    """Yield the groups of a ``song_stream`` in order. Audio stays in the object store, without a copy."""
    for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2):
        for batch in cast(pa.Table, block).to_batches():
            waves = _binaries(batch.column("wave"))
            for row in range(batch.num_rows):
                id = GroupId(*(batch[name][row].as_py() for name in ("kind", "step", "group")))
                songs_n, starts_n = (np.asarray(batch[name][row].values) for name in ("songs", "starts"))
                read = ReadStats(**batch["read"][row].as_py())
                wave_nT = np.frombuffer(waves[row], PCM_DTYPE).reshape(len(songs_n), source.crop_len)
                yield source.group(Crops(id, songs_n, starts_n), wave_nT, read, batch["ready_at"][row].as_py())


def _binaries(column: pa.LargeBinaryArray) -> list[pa.Buffer]:
    """Return the column's values as slices of its buffer; taking scalars from the column would copy them."""
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset :][: len(column) + 1].tolist()
    return [data.slice(low, high - low) for low, high in itertools.pairwise(bounds)]


class GroupStream(Iterator[CropGroup]):
    """Iterates over the groups of ``items`` in order, through a chain of datasets of CHAIN_TASKS tasks each.

    Reading starts on construction. Ray Data plans all tasks of a dataset before it starts, so one dataset for a run of
    a million groups would start only after minutes. So each dataset of the chain starts in the background when half of
    the previous one is consumed.
    """

    def __init__(
        self, source: StreamSource, reference: ray.ObjectRef[StreamSource], items: Iterator[GroupId], cpus: float
    ) -> None:
        self._source, self._reference, self._items, self._cpus = source, reference, items, cpus
        self._current, self._upcoming = self._begin(), None
        self._groups = self._delivered()

    def __next__(self) -> CropGroup:
        return next(self._groups)

    def close(self) -> None:
        """Stop reading. Otherwise Ray Data continues to read a stream that was abandoned before its end."""
        self._groups.close()
        for part in filter(None, (self._current, self._upcoming)):
            part.close()

    def _begin(self) -> _Part:
        ids = list(itertools.islice(self._items, CHAIN_TASKS * _groups_per_task(self._source)))
        if not ids:
            return _Part(0, (group for group in ()))
        dataset = song_stream(self._source, self._reference, ids, self._cpus)
        return _Part(len(ids), iter_groups(self._source, dataset))

    def _delivered(self) -> Generator[CropGroup, None, None]:
        while self._current.length:
            for count, group in enumerate(self._current):
                yield group
                if self._upcoming is None and count >= self._current.length // 2:
                    self._upcoming = self._begin()
            self._current, self._upcoming = self._upcoming or self._begin(), None


class _Part:
    """The groups of one dataset of the chain; the first group is fetched at once, in the background."""

    def __init__(self, length: int, groups: Generator[CropGroup, None, None]) -> None:
        self.length = length
        self._groups = groups
        self._first = ThreadPoolExecutor(1).submit(lambda: list(itertools.islice(groups, 1)))

    def __iter__(self) -> Iterator[CropGroup]:
        yield from self._first.result()
        yield from self._groups

    def close(self) -> None:
        wait([self._first])  # a running generator cannot be closed
        self._groups.close()
