"""The searched trials of a report: their list, the best values by family and size, and how they move with the size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genrescale.display.text import count_text, csv_bytes
from genrescale.report.words import Answer
from genrescale.results.search import FINISHED, OVER, SearchTrial, best_trials, lower_is_better
from genrescale.telemetry.progress import format_duration


@dataclass(frozen=True)
class SearchLine:
    """A trial of the list, the best of its family and size marked."""

    trial: SearchTrial
    best: bool

    @property
    def values_text(self) -> str:
        return values_text(self.trial.values)

    @property
    def status_text(self) -> str:
        return f"{self.trial.status}: {self.trial.reason}" if self.trial.reason else self.trial.status


@dataclass(frozen=True)
class Optimum:
    """The best finished trial of a family and size; ``at_edge`` names fields with an extreme value."""

    trial: SearchTrial
    finished: int
    tried: int
    at_edge: tuple[str, ...]

    @property
    def values_text(self) -> str:
        return values_text(self.trial.values)


@dataclass(frozen=True)
class Searched:
    """What a report shows of a sweep's search."""

    lines: list[SearchLine]
    optima: list[Optimum]
    summary: str

    @property
    def metric(self) -> str:
        return ", ".join(dict.fromkeys(line.trial.metric for line in self.lines))

    @property
    def families(self) -> list[str]:
        return list(dict.fromkeys(line.trial.family for line in self.lines))

    @property
    def moving(self) -> list[str]:
        """The fields whose best values are known at several sizes, so that it can be drawn how they move."""
        sizes: dict[str, set[int]] = {}
        for optimum in self.optima:
            for name in optimum.trial.values:
                sizes.setdefault(name, set()).add(optimum.trial.size)
        return [name for name, found in sizes.items() if len(found) > 1]

    def path(self, name: str, family: str) -> list[tuple[int, float]]:
        """(size, best value) of a field for one family, ascending in size."""
        found = [o.trial for o in self.optima if o.trial.family == family and name in o.trial.values]
        return sorted((trial.size, trial.values[name]) for trial in found)


def values_text(values: dict[str, float]) -> str:
    """``lr 0.003, dropout 0.2``."""
    return ", ".join(f"{name.rpartition('.')[2]} {value:.4g}" for name, value in values.items())


def searched(trials: Sequence[SearchTrial]) -> Searched | None:
    """The report of a ledger; None if nothing was searched."""
    if not trials:
        return None
    best = best_trials(trials)
    families = list(dict.fromkeys(trial.family for trial in trials))
    places = sorted(dict.fromkeys(trial.place for trial in trials), key=lambda p: (families.index(p[0]), p[1]))
    lines = []
    for place in places:
        members = [trial for trial in trials if trial.place == place]
        lines += [SearchLine(t, t is best.get(place)) for t in sorted(members, key=_order)]
    optima = [_optimum(best[place], [t for t in trials if t.place == place]) for place in places if place in best]
    return Searched(lines, optima, _summary(trials))


def answer_searched(search: Searched) -> Answer:
    """What a search alone has found: no comparison, because each of its scores is of the luckiest trial."""
    if not search.optima:
        return Answer("No trial of the search has finished", search.summary, ())
    first = search.optima[-1]
    at = f"of {first.trial.family} with {count_text(first.trial.size, 'song')}"
    points = tuple(
        f"{o.trial.family.capitalize()} with {count_text(o.trial.size, 'song')}: {o.values_text} "
        f"({o.trial.metric} {o.trial.score:.4f})."
        for o in search.optima
    )
    return Answer(f"The best values {at} are {first.values_text}", search.summary, points if points[1:] else ())


def _order(trial: SearchTrial) -> tuple[bool, bool, float, int]:
    """Finished ones first, the better ones of them first; then those that came further."""
    done, score = trial.status == FINISHED, trial.score or 0.0
    rank = score if lower_is_better(trial.metric) else -score
    return not done, trial.score is None, rank if done else -trial.steps, trial.number


def _optimum(best: SearchTrial, members: Sequence[SearchTrial]) -> Optimum:
    edges = []
    for name, value in best.values.items():
        tried = sorted({t.values[name] for t in members if name in t.values and t.status in OVER})
        if len(tried) > 1 and value in (tried[0], tried[-1]):
            edges.append(name.rpartition(".")[2])
    return Optimum(best, sum(t.status == FINISHED for t in members), len(members), tuple(edges))


def _summary(trials: Sequence[SearchTrial]) -> str:
    """How the trials ended, and what they cost and were spared."""
    counts = [(status, sum(trial.status == status for trial in trials)) for status in OVER]
    left = len(trials) - sum(count for _, count in counts)
    words = [f"{count} {status}" for status, count in counts if count] + ([f"{left} not over"] if left else [])
    steps, most = sum(trial.steps for trial in trials), sum(trial.max_steps for trial in trials)
    algorithms = ", ".join(dict.fromkeys(trial.algorithm for trial in trials))
    seconds = sum(trial.seconds for trial in trials)
    return (
        f"{count_text(len(trials), 'trial')} by {algorithms}: {', '.join(words)}. They took {steps:,} steps and "
        f"{format_duration(seconds)}; all of them to their caps would have been {most:,} steps."
    )


def search_csv(trials: Sequence[SearchTrial]) -> bytes:
    """One line per trial: its place, sampled values, cost, score, and why it was stopped."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.values))
    header = ["run_id", "family", "size", "number", "algorithm", *names, "metric", "score", "steps", "max_steps"]
    rows = []
    for t in trials:
        row: list[object] = [t.run_id, t.family, t.size, t.number, t.algorithm, *(t.values.get(name) for name in names)]
        rows.append([*row, t.metric, t.score, t.steps, t.max_steps, t.seconds, t.status, t.reason])
    return csv_bytes([*header, "seconds", "status", "reason"], rows)
