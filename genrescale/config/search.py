"""The search of a sweep: which fields of a run are varied, by which algorithm, and what the best values are for."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields

from genrescale.config.checks import not_negative, one_of, positive, require

ALGORITHMS = ("grid", "random", "asha", "optuna")
THEN = ("stop", "scale")
KINDS = ("log", "uniform", "int", "choice")
NO_PBT = (
    "search.algorithm=pbt is not offered: population-based training copies the weights of one trial into another while "
    "both train, and a trial here is a function that starts a training of its own, which Ray Tune cannot give other "
    f"weights; use one of {list(ALGORITHMS)}"
)
_FORMS = "log(1e-4,1e-1), uniform(0,0.5), int(2,6) or choice(0.1,0.2,0.4)"
_DIGITS = 4  # of a drawn number, so that a person can type it again


@dataclass(frozen=True)
class Distribution:
    """What the values of a searched field are drawn from.

    ``values`` are the two ends of a range, both included, or the values of a choice. ``log`` is uniform in the
    logarithm, ``int`` in whole numbers.
    """

    kind: str
    values: tuple[float, ...]

    def draw(self, share: float) -> float:
        """The value at ``share`` (at least 0, below 1) of the distribution."""
        if self.kind == "choice":
            return self.values[int(share * len(self.values))]
        low, high = self.values
        if self.kind == "int":
            return int(low) + int(share * (int(high) - int(low) + 1))
        value = low * (high / low) ** share if self.kind == "log" else low + share * (high - low)
        return min(high, max(low, float(f"{value:.{_DIGITS}g}")))

    def holds(self, value: float) -> bool:
        """Whether the distribution may give this value."""
        if self.kind == "choice":
            return value in self.values
        return self.values[0] <= value <= self.values[1] and (self.kind != "int" or value == int(value))

    def __str__(self) -> str:
        return f"{self.kind}({','.join(f'{value:g}' for value in self.values)})"


def parse_distribution(name: str, text: str) -> Distribution:
    """Parse ``log(1e-4,1e-1)`` and its like. Raises ValueError, with ``name``, for anything else."""
    where = f"search.space.{name}={text!r}"
    found = re.fullmatch(r"\s*(\w+)\((.*)\)\s*", text)
    require(found is not None, f'{where} must be {_FORMS}; in a shell, quote it: "search.space.{name}=log(1e-4,1e-1)"')
    assert found is not None
    one_of(f"{where}: the distribution", found[1], KINDS)
    try:
        numbers = [_number(word) for word in found[2].split(",")]
    except ValueError:
        raise ValueError(f"{where} must hold numbers between its brackets: {_FORMS}") from None
    _check_numbers(where, found[1], numbers)
    return Distribution(found[1], tuple(numbers))


def _number(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(word)
    return int(word) if re.fullmatch(r"\s*[+-]?\d+\s*", word) else value


def _check_numbers(where: str, kind: str, numbers: list[float]) -> None:
    if kind == "choice":
        require(len(set(numbers)) == len(numbers), f"{where} holds a value twice")
        return
    require(len(numbers) == 2 and numbers[0] < numbers[1], f"{where} must hold two ends, the lower one first")
    require(kind != "log" or numbers[0] > 0, f"{where}: the ends of a log range must be above 0")
    whole = all(isinstance(number, int) for number in numbers)
    require(kind != "int" or whole, f"{where} must have whole numbers as ends")


@dataclass
class SearchConfig:
    """A search over fields of a run, beside the grid of a sweep.

    ``space`` says what is varied, by the field's name in a run or its end: ``lr`` or ``optim.lr``, ``dropout`` or
    ``model.dropout``. Values are ``log(low,high)``, ``uniform(low,high)``, ``int(low,high)`` or ``choice(a,b,...)``.
    Without a space nothing is searched.

    ``algorithm``: ``grid``, every combination of choices; ``random``, ``trials`` draws; ``asha``, the same draws, of
    which the worse ones are stopped at rungs (Li et al. 2020); ``optuna``, ``trials`` suggestions of Optuna's TPE, each
    from what the ones before scored. Trials are per family and size. A trial's score is its best ``optim.best_by`` on
    the validation songs (with ``gap``: the validation loss).

    ``sizes`` are the numbers of songs to search at; none: the smallest of the sweep. ``seed`` draws the values and is
    the seed of the searched runs, one that the grid has not. ``then``: ``stop`` after the search, or ``scale``: train
    the grid with the best values of each family, at every size those of the nearest searched size not above it.

    ASHA compares trials at ``first_rung`` steps and each time ``reduction`` times as many, and keeps the best
    1/``reduction`` of those that came so far. ``first_rung=0`` is ``optim.max_steps / reduction**2``. A rung lies at
    the first validation at or after its step.
    """

    algorithm: str = "grid"
    space: dict[str, str] = field(default_factory=dict)
    trials: int = 16
    sizes: list[int] = field(default_factory=list)
    seed: int = 1000
    then: str = "stop"
    reduction: int = 3
    first_rung: int = 0

    def __post_init__(self) -> None:
        require(self.algorithm != "pbt", NO_PBT)
        one_of("search.algorithm", self.algorithm, ALGORITHMS)
        one_of("search.then", self.then, THEN)
        positive(**{"search.trials": self.trials}, **{f"search.sizes[{i}]": size for i, size in enumerate(self.sizes)})
        not_negative(**{"search.seed": self.seed, "search.first_rung": self.first_rung})
        require(len(set(self.sizes)) == len(self.sizes), f"search.sizes={self.sizes} holds a size twice")
        require(self.reduction >= 2, f"search.reduction={self.reduction} must be at least 2")
        self._check_space()
        self._check_used()

    def _check_space(self) -> None:
        found = self.distributions()
        require(
            self.algorithm == "grid" or bool(found),
            f'search.algorithm={self.algorithm} needs what to search, such as "search.space.lr=log(1e-4,1e-1)"',
        )
        for name, distribution in found.items():
            require(
                self.algorithm != "grid" or distribution.kind == "choice",
                f"search.space.{name}={distribution} has no end of values: search.algorithm=grid needs choice(...), "
                "random, asha and optuna take it",
            )

    def _check_used(self) -> None:
        idle: dict[str, str] = {}
        if not self.space:
            idle = {name: "without search.space" for name in ("trials", "sizes", "seed", "then")}
        elif self.algorithm == "grid":
            idle = {"trials": "with search.algorithm=grid, which tries every combination"}
        if self.algorithm != "asha":
            idle |= {name: "without search.algorithm=asha" for name in ("reduction", "first_rung")}
        for setting in fields(self):
            default = setting.default_factory() if callable(setting.default_factory) else setting.default
            if setting.name in idle and (value := getattr(self, setting.name)) != default:
                raise ValueError(f"search.{setting.name}={value} has no effect {idle[setting.name]}")

    def distributions(self) -> dict[str, Distribution]:
        """The space with its distributions, by the names as they were given."""
        return {name: parse_distribution(name, text) for name, text in self.space.items()}
