"""Run a pure function on many items as Ray tasks, with a limited number in flight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError

Item = TypeVar("Item")
Result = TypeVar("Result")


DEATHS = (WorkerCrashedError, OutOfMemoryError, NodeDiedError)
"""What Ray raises if the process or node of a task died."""


def run_tasks(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    name: str,
    max_in_flight: int | None = None,
    again: Callable[[Item], Item] | None = None,
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order of completion.

    At most ``max_in_flight`` tasks (default: twice the cluster's CPUs) are submitted at a time, so that neither items
    nor results accumulate. If the process of a task dies, Ray runs the task again, with the same item or, if given,
    with ``again(item)``. An exception of ``function`` is raised here.
    """
    limit = max_in_flight or max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))
    retried = ray.remote(function).options(name=name)
    first = retried if again is None else ray.remote(function).options(name=name, max_retries=0)
    pending_items = iter(items)
    in_flight = {first.remote(item): item for item in islice(pending_items, limit)}
    once_more = set()
    while in_flight:
        done, _ = ray.wait(list(in_flight), num_returns=1)
        in_flight |= {first.remote(item): item for item in islice(pending_items, len(done))}
        for reference in done:
            item = in_flight.pop(reference)
            try:
                result = ray.get(reference)
            except DEATHS:
                if again is None or reference in once_more:
                    raise
                second = retried.remote(again(item))
                in_flight[second] = item
                once_more.add(second)
                continue
            except RayTaskError as error:
                # raise the function's own exception; Ray's remote traceback would hide the message
                raise error.cause from None
            yield result
