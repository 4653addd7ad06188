"""What Ray does for baselines: features of many songs through Ray Data, and a model for each tag as tasks.

Shapes: N songs, F features.
"""

from __future__ import annotations

import logging
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa
import ray
from ray.exceptions import RayTaskError
from ray.util.annotations import RayDeprecationWarning

from genrescale.baselines.extractors import Extractor
from genrescale.data.manifest import Manifest
from genrescale.data.reading.crops import DamagedShardError, SongTable, read_crops

Result = TypeVar("Result")
SONGS_AT_ONCE = 16  # of a task, which holds one song's audio at a time
_RETRIES = 5  # of a task whose process died
_SCHEMA = pa.schema({"song": pa.int64(), "error": pa.string(), "values": pa.list_(pa.float32())})


@dataclass(frozen=True, eq=False)
class _Songs:
    """What every process needs, sent to each node once."""

    table: SongTable
    extractor: Extractor


@dataclass(frozen=True)
class _Reference:
    """In a dataclass, because Ray would replace a bare reference by its object."""

    songs: ray.ObjectRef[_Songs]


@lru_cache(maxsize=1)
def _shared(reference: _Reference) -> _Songs:
    import torch

    torch.set_num_threads(1)  # because there are as many tasks as cores
    return ray.get(reference.songs)


def _vectors(songs: pa.Table, reference: _Reference) -> pa.Table:
    shared, rows = _shared(reference), []
    for song in songs["id"].to_pylist():
        try:
            pcm_T = read_crops(shared.table, np.array([song]), np.array([0]), int(shared.table.len_N[song]))[0]
        except DamagedShardError as error:
            rows.append({"song": song, "error": str(error), "values": None})
        else:
            rows.append({"song": song, "error": None, "values": shared.extractor.vector(pcm_T)})
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def extract_vectors(manifest: Manifest, rows: np.ndarray, extractor: Extractor) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (i, vector (F,)) for the song ``rows[i]`` of the manifest, in any order. Needs a connected Ray.

    Audio is read and verified song by song, on every CPU of the cluster. Raises ValueError for a damaged shard.
    """
    reference = _Reference(ray.put(_Songs(SongTable.of(manifest, rows), extractor)))
    blocks = max(1, len(rows) // SONGS_AT_ONCE, min(len(rows), int(ray.cluster_resources().get("CPU", 1))))
    with warnings.catch_warnings():
        # Ray 2.60 deprecates ray_remote_args but has no other way to limit retries
        warnings.simplefilter("ignore", RayDeprecationWarning)
        dataset = ray.data.range(len(rows), override_num_blocks=blocks).map_batches(
            partial(_vectors, reference=reference),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            max_retries=_RETRIES,
        )
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it warns that its own progress is off
    for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in cast(pa.Table, block).to_pylist():
            if row["error"] is not None:
                raise ValueError(row["error"])
            yield row["song"], np.asarray(row["values"], np.float32)


class Tasks:
    """Runs a function for each of some items, such as tags, as Ray tasks of one CPU each.

    An array that all of them need lies in the object store once, also for later calls, for as long as it exists here.
    """

    def __init__(self) -> None:
        self._references: dict[int, ray.ObjectRef[np.ndarray]] = {}

    def __call__(self, function: Callable[..., Result], items: Sequence[Any], *arrays: np.ndarray) -> Iterator[Result]:
        """Yield ``function(item, *arrays)`` in the order of the items. Raises what the function raises."""
        references = [self._put(array) for array in arrays]
        task: Any = ray.remote(_call).options(num_cpus=1, name="fit_baseline")
        waiting, started = iter(items), deque[Any]()
        # some at a time, because what was started is not cancelled: Ray 2.60 aborts where a task ends meanwhile
        limit = max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))
        while True:
            started.extend(task.remote(function, item, *references) for item in islice(waiting, limit - len(started)))
            if not started:
                return
            try:
                yield ray.get(started.popleft())
            except RayTaskError as error:
                raise error.cause from None

    def _put(self, array: np.ndarray) -> ray.ObjectRef[np.ndarray]:
        if id(array) not in self._references:
            self._references[id(array)] = ray.put(array)
            weakref.finalize(array, self._references.pop, id(array), None)
        return self._references[id(array)]


def _call(function: Callable[..., Result], item: Any, *arrays: np.ndarray) -> Result:
    return function(item, *arrays)
