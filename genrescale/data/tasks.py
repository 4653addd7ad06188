"""Run a pure function on many items as Ray tasks, with a limited number in flight."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import ray
from ray.exceptions import RayTaskError

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_tasks(
    function: Callable[[Item], Result], items: Iterable[Item], name: str, max_in_flight: int | None = None
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order of completion.

    At most ``max_in_flight`` tasks (default: twice the cluster's CPUs) are submitted at a time, so that neither items
    nor results accumulate. If the process of a task dies, Ray runs the task again. An exception of ``function`` is
    raised here.
    """
    limit = max_in_flight or max(2, 2 * int(ray.cluster_resources().get("CPU", 1)))
    task = ray.remote(function).options(name=name)
    pending = iter(items)
    in_flight = [task.remote(item) for item in islice(pending, limit)]
    while in_flight:
        done, in_flight = ray.wait(in_flight, num_returns=1)
        in_flight += [task.remote(item) for item in islice(pending, len(done))]
        for reference in done:
            try:
                result = ray.get(reference)
            except RayTaskError as error:
                # raise the function's own exception; Ray's remote traceback would hide the message
                raise error.cause from None
            yield result
