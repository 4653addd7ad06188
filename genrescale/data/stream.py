"""The stream: from a plan to verified crops, through Ray Data, into one training worker.

``song_stream`` gives a worker a dataset over its own part of the plan. Every Ray task reads the crops of a few
groups (``genrescale.data.reading.crops``) and returns int16; floats are made on the training device. The order of the
plan is kept, so resuming is starting it at a later step.

Memory, by design: a worker's stream holds up to READ_AHEAD_BYTES in its node's object store (for a moment twice that,
when one dataset of the chain follows another), each of its read tasks TASK_BYTES and the fetched bytes of as many
groups as it reads at once.
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
from genrescale.data.reading.plan import Crops, GroupId
from genrescale.data.reading.source import READ_CPUS, CropGroup, StreamSource, read_tasks
from genrescale.data.reading.spans import ReadStats

TASK_BYTES = 120 << 20  # audio that one read task returns: a task costs Ray 8 ms of the training worker's process
READ_AHEAD_BYTES = 512 << 20  # object store that a worker's stream may fill
CHAIN_TASKS = 512  # read tasks of one dataset
FAR_TASK_GROUPS = 8  # that a read task returns from a bucket: training waits for the first tasks, request by request
FAR_GROUPS_AT_ONCE = 3  # of one task, from a bucket: while one is checked, the next ones are on their way
MAX_TASK_RETRIES = 5  # of a task whose process died; Ray Data's own number is infinite, and a run would hang
LOOP_PAUSE_S = 0.01

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
    """One copy per process, so that an epoch's draw is made once."""
    return ray.get(reference.object_ref)


@dataclass(frozen=True)
class _SourceRef:
    object_ref: ray.ObjectRef[StreamSource]


def _read_groups(reference: _SourceRef, ids: Sequence[GroupId]) -> list[pa.Table]:
    """The groups as one table. Their audio is read into one buffer of Arrow's, which the table takes over uncopied."""
    source = _shared_source(reference)
    parts = [source.crops(id) for id in ids]
    bounds = np.cumsum([0, *(len(crops) for crops in parts)])
    # Arrow's allocator keeps the pages of the task before: pages never touched cost more than the copy into them
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


class _Pause:
    """Slows Ray Data's scheduling loop down (an execution callback; its other events do not matter here).

    The loop runs in a thread of the training worker. When every task has finished and crops are still to be consumed it
    has nothing to wait for, spins without a pause (Ray 2.60) and takes the interpreter lock from training: steps of
    125 ms took 250.
    """

    def before_execution_starts(self, executor: object) -> None: ...
    def after_execution_succeeds(self, executor: object) -> None: ...
    def after_execution_fails(self, executor: object, error: Exception) -> None: ...

    def on_execution_step(self, executor: object) -> None:
        time.sleep(LOOP_PAUSE_S)


class CropSource(Datasource):
    """A Ray Data source whose read tasks each read the crops of a run of consecutive groups."""

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
    """Where the read tasks over ``num_groups`` groups begin, and the end: one group, twice as many, up to ``most``.

    A task hands over what it read when all of it is there, and training begins with waiting for the first.
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
    """A dataset over ``items``, one row per group, in the plan's order: the part of one worker.

    ``cpus`` bounds how many read tasks run at a time.
    """
    group_bytes, groups_per_task = _group_bytes(source), _groups_per_task(source)
    crop_source = CropSource(_SourceRef(reference), items, groups_per_task, group_bytes)
    num_tasks = len(task_bounds(len(items), groups_per_task)) - 1
    with warnings.catch_warnings():
        # Ray 2.60 deprecates ray_remote_args and has no other way to bound the retries
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
    dataset.context.custom_execution_callback_classes = [_Pause]  # type: ignore[list-item]
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    return dataset


def iter_groups(source: StreamSource, dataset: Dataset) -> Generator[CropGroup, None, None]:
    """The groups of a ``song_stream``, in order. The audio is not copied out of the object store."""
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
    """The values as they lie in the column: Arrow copies a value that is taken out as a scalar."""
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset :][: len(column) + 1].tolist()
    return [data.slice(low, high - low) for low, high in itertools.pairwise(bounds)]


class GroupStream(Iterator[CropGroup]):
    """The groups of ``items``, in order, through a chain of datasets of CHAIN_TASKS tasks each.

    Reading begins at once, before the first group is asked for. Ray Data plans a dataset's every task before it starts,
    so one dataset over a run of a million groups would not start for minutes: each of the chain starts in the
    background, the next when half of the one before is consumed.
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
        """Stop reading: of a stream that was left before its end, Ray Data would read on."""
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
    """The groups of one dataset of the chain; the first is fetched right away, in the background."""

    def __init__(self, length: int, groups: Generator[CropGroup, None, None]) -> None:
        self.length = length
        self._groups = groups
        self._first = ThreadPoolExecutor(1).submit(lambda: list(itertools.islice(groups, 1)))

    def __iter__(self) -> Iterator[CropGroup]:
        yield from self._first.result()
        yield from self._groups

    def close(self) -> None:
        wait([self._first])  # a generator that runs cannot be closed
        self._groups.close()
