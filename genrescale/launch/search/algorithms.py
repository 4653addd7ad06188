"""What a search tries: the algorithms by name. Each is given a bracket, the trials of one family and size."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from genrescale.config import RunConfig
from genrescale.config.search import SearchConfig
from genrescale.launch.search.rungs import Rungs
from genrescale.launch.search.space import Space, typed_values
from genrescale.launch.search.study import Study
from genrescale.results.search import SearchTrial

_TRIES = 50  # draws for each trial, where a small space gives the same again


@dataclass(frozen=True)
class Bracket:
    """The trials of one family and size, which are compared with each other and with no others.

    ``base`` is the run that they vary, ``metric`` the figure that scores them; ``rungs`` is None where none is stopped.
    """

    family: str
    size: int
    base: RunConfig
    space: Space
    metric: str
    rungs: Rungs | None


class Suggester(Protocol):
    """Gives the values of one trial after the other, and hears how each of them ended."""

    def next(self) -> dict[str, float] | None:
        """The values of a further trial; None if there is none."""
        ...

    def took(self, trial: SearchTrial) -> None:
        """The values that ``next`` gave last became this trial."""

    def refused(self) -> None:
        """No run can have the values that ``next`` gave last: others count in their place."""

    def told(self, trial: SearchTrial) -> None:
        """A trial has ended."""


class Listed:
    """Values that are known before the search starts."""

    def __init__(self, values: Sequence[dict[str, float]]) -> None:
        self.values = list(values)
        self._left = iter(self.values)

    def next(self) -> dict[str, float] | None:
        return next(self._left, None)

    def took(self, trial: SearchTrial) -> None:
        pass

    def refused(self) -> None:
        pass

    def told(self, trial: SearchTrial) -> None:
        pass


def _every_combination(bracket: Bracket, search: SearchConfig) -> Listed:
    names = list(bracket.space.distributions)
    choices = [bracket.space.distributions[name].values for name in names]
    combinations = itertools.product(*choices)
    return Listed([typed_values(bracket.base, dict(zip(names, chosen, strict=True))) for chosen in combinations])


def _draws(bracket: Bracket, search: SearchConfig) -> Listed:
    """``search.trials`` different draws, or all that the space has. More trials are the same ones and further ones.

    A draw depends on the seed, its number and the field's name alone, so that families and sizes are compared at the
    same values.
    """
    found: list[dict[str, float]] = []
    for number in range(search.trials * _TRIES):
        drawn = {name: d.draw(_share(search.seed, number, name)) for name, d in bracket.space.distributions.items()}
        if (values := typed_values(bracket.base, drawn)) not in found:
            found.append(values)
        if len(found) == search.trials:
            break
    return Listed(found)


def _share(seed: int, number: int, name: str) -> float:
    digest = hashlib.sha256(f"{seed} {number} {name}".encode()).digest()
    return random.Random(digest).random()


def _optuna(bracket: Bracket, search: SearchConfig) -> Study:
    return Study(bracket.family, bracket.size, bracket.space, bracket.metric, search)


ALGORITHMS: dict[str, Callable[[Bracket, SearchConfig], Suggester]] = {
    "grid": _every_combination,
    "random": _draws,
    "asha": _draws,
    "optuna": _optuna,
}


def turns(suggesters: Sequence[Suggester]) -> Iterator[tuple[int, dict[str, float]]]:
    """The suggestions of several brackets in turn, with the bracket's place; ends when none has a further one."""
    open_ones = list(range(len(suggesters)))
    while open_ones:
        for place in list(open_ones):
            if (values := suggesters[place].next()) is None:
                open_ones.remove(place)
            else:
                yield place, values
