"""Ray Train's controller of a run with a name that people can read, which Ray's dashboard and logs show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ray.train.v2._internal.execution.controller import TrainController as RayTrainController
from ray.train.v2.api import data_parallel_trainer

from genrescale.launch.private_ray import replaced


class TrainController(RayTrainController):
    """Shown by the name of its run (``ray.train.RunConfig``). Ray asks for ``repr`` once, when the actor is there."""

    def __repr__(self) -> str:
        return str(self._run_config.name)


@contextmanager
def named_controllers() -> Iterator[None]:
    """Trainers that are fitted in the block have controllers with names."""
    with replaced(data_parallel_trainer, "TrainController", TrainController):
        yield
