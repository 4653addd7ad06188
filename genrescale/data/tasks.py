"""Run a pure function on many items as Ray tasks, with a limited number in flight."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

import ray
from ray.exceptions import RayTaskError
from ray.experimental import internal_kv

from genrescale.telemetry.ticks import listening

Item = TypeVar("Item")
Result = TypeVar("Result")
_TOLD_S, _LOOK_S = 1.0, 1.0


def run_tasks(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    name: str,
    max_in_flight: int | None = None,
    partly: Callable[[int], None] | None = None,
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order of completion.

    At most ``max_in_flight`` tasks (default: twice the cluster's CPUs) are submitted at a time, so that neither items
    nor results accumulate. If the process of a task dies, Ray runs the task again. An exception of ``function`` is
    raised here. ``partly`` is called at least every second with the ticks of all tasks in flight
    (``genrescale.telemetry``), as they were within the last seconds.
    """
    limit = max_in_flight or max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))
    task: Any = ray.remote(_ticking(function)).options(name=name)
    pending = iter(items)

    def submit(count: int) -> dict[Any, str]:
        keys = [(item, f"genrescale-ticks-{uuid.uuid4().hex}" if partly else "") for item in islice(pending, count)]
        return {task.remote(item, key): key for item, key in keys}

    in_flight = submit(limit)
    ticks, looked_s = dict[str, int](), time.monotonic()
    try:
        while in_flight:
            done, _ = ray.wait(list(in_flight), num_returns=1, timeout=_LOOK_S if partly else None)
            ended = [in_flight.pop(reference) for reference in done]
            in_flight |= submit(len(done))
            if partly is not None:
                _forget(ended)
                # a request for each task in flight, so not each time that one ends
                if time.monotonic() - looked_s >= _LOOK_S:
                    ticks = {key: _ticks(key) for key in in_flight.values()}
                    looked_s = time.monotonic()
                partly(sum(ticks.get(key, 0) for key in in_flight.values()))
            for reference in done:
                try:
                    result = ray.get(reference)
                except RayTaskError as error:
                    # raise the function's own exception; Ray's remote traceback would hide the message
                    raise error.cause from None
                yield result
    finally:
        if partly is not None:
            _forget(in_flight.values())


def _ticking(function: Callable[[Item], Result]) -> Callable[[Item, str], Result]:
    """The function as a task that leaves its number of ticks, at most every second, under a key of the cluster.

    Without a key it leaves none.
    """

    def ticking(item: Item, key: str) -> Result:
        if not key:
            return function(item)
        count, told_s = 0, time.monotonic()

        def tell() -> None:
            nonlocal count, told_s
            count += 1
            if (now_s := time.monotonic()) - told_s >= _TOLD_S:
                told_s = now_s
                with suppress(Exception):  # what only shows progress must not fail the task
                    internal_kv._internal_kv_put(key, str(count), overwrite=True)

        with listening(tell):
            return function(item)

    return ticking


def _ticks(key: str) -> int:
    with suppress(Exception):
        return int(internal_kv._internal_kv_get(key) or 0)
    return 0


def _forget(keys: Iterable[str]) -> None:
    with suppress(Exception):
        for key in keys:
            internal_kv._internal_kv_del(key)
