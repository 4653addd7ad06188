"""The baselines of a report: what is scored without a network, beside the models of each size.

Baselines are trained by a sweep or by jobs/baselines.py, and read here. The majority class is in ``songs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genrescale.config.metrics import Metric
from genrescale.display.text import count_text
from genrescale.report.songs import TestSongs
from genrescale.report.tables import Line
from genrescale.report.trials import TrialOutcome
from genrescale.report.words import Answer
from genrescale.results.baseline import (
    FLOOR,
    BaselineRow,
    baseline_folder,
    finished_baselines,
    read_baseline,
    read_baseline_failures,
)
from genrescale.scaling import Interval
from genrescale.storage.store import Store


@dataclass(frozen=True)
class BaselineLine:
    """A baseline at a size."""

    row: BaselineRow

    @property
    def name(self) -> str:
        return self.row.name if self.row.labels == "true" else f"{self.row.name} ({self.row.labels} labels)"

    @property
    def size(self) -> int:
        return self.row.size

    @property
    def scores_path(self) -> str:
        return f"{baseline_folder(self.row.baseline_id)}/scores.parquet"

    @property
    def finished_at(self) -> str:
        return self.row.finished_at

    def value(self, metric: Metric) -> float | None:
        return getattr(self.row, metric.key, None)

    def text(self, metric: Metric) -> str:
        return "" if (value := self.value(metric)) is None else f"{value:.4f}"


def read_baselines(
    files: Store, trials: Sequence[TrialOutcome], version: str = ""
) -> tuple[list[BaselineLine], list[str]]:
    """Read the baselines that belong beside these trials, largest size first, and notes about others and failures.

    They are of a size of the trials and, where runs of it have finished, of their songs; without trials, all of them.
    With a ``version``, they are of that version of a corpus: runs on several corpora may lie in one folder.
    Of several of one name and size, the last one stands.
    """
    sizes = {trial.planned.size for trial in trials}
    lines: dict[tuple[int, str], BaselineLine] = {}
    notes, foreign = [], 0
    for id in finished_baselines(files):
        try:
            line = BaselineLine(read_baseline(files, id))
        except ValueError as error:
            notes.append(f"A baseline left out that cannot be read: {error}.")
            continue
        if (sizes and line.size not in sizes) or version not in ("", line.row.corpus_version):
            continue
        digests = {trial.row.data_digest for trial in trials if trial.row and trial.planned.size == line.size}
        if digests and not any(_same_songs(digest, line.row.data_digest) for digest in digests):
            foreign += 1
            continue
        before = lines.get((line.size, line.name))
        if before is None or line.finished_at > before.finished_at:
            lines[line.size, line.name] = line
    if foreign:
        notes.append(f"{count_text(foreign, 'baseline')} left out: of other songs, audio or labels than the runs.")
    notes += _failures(files, sizes)
    return sorted(lines.values(), key=lambda line: (-line.size, line.name != FLOOR, line.name)), notes


BaselinePath = tuple[str, list[tuple[int, float]]]
"""The name of a baseline, and a metric of it at each size, ascending."""


def baseline_paths(lines: Sequence[BaselineLine], metric: Metric) -> list[BaselinePath]:
    """What a figure draws of the baselines."""
    paths: dict[str, list[tuple[int, float]]] = {}
    for line in sorted(lines, key=lambda line: line.size):
        if (value := line.value(metric)) is not None:
            paths.setdefault(line.name, []).append((line.size, value))
    return list(paths.items())


def _same_songs(run_digest: str, digest: str) -> bool:
    """Whether a run is of these songs; its digest may go on with the places of its songs."""
    return run_digest == digest or run_digest.startswith(f"{digest}-")


def _failures(files: Store, sizes: set[int]) -> list[str]:
    try:
        failures = [failure for failure in read_baseline_failures(files) if not sizes or failure.size in sizes]
    except ValueError as error:
        return [f"The notes on failed baselines cannot be read: {error}."]
    errors: dict[tuple[str, str], list[int]] = {}
    for failure in failures:
        errors.setdefault((failure.name, failure.error), []).append(failure.size)
    return [
        f"No {name} at {', '.join(f'{size:,}' for size in sizes)} songs: it failed ({error})."
        for (name, error), sizes in errors.items()
    ]


def answer_baselines(lines: Sequence[BaselineLine], metric: Metric) -> Answer:
    """What the baselines of the largest size score, where there is no model to compare them with."""
    top = [line for line in lines if line.size == max(line.size for line in lines)]
    figures = ", ".join(f"{line.name} {line.text(metric)}" for line in top)
    at = f"with {count_text(top[0].size, 'song')}"
    return Answer("Baselines, and no model yet", f"{metric.label} {at}: {figures}.", ())


@dataclass(frozen=True)
class FloorGap:
    """A family's mean less the linear floor at one size; the 95 % interval is over resampled test songs."""

    metric: Metric
    family: str
    size: int
    mean: float
    floor: float
    test_songs: int
    interval: Interval | None

    @property
    def below(self) -> bool:
        return self.metric.gain(self.mean - self.floor) < 0

    @property
    def clear(self) -> bool:
        return self.interval is not None and self.interval[0] * self.interval[1] > 0


def floor_gaps(
    lines: Sequence[Line], baselines: Sequence[BaselineLine], metric: Metric, songs: TestSongs
) -> list[FloorGap]:
    """Compare each family of true labels with the floor at each size that has both, largest size first."""
    floors = {line.size: line for line in baselines if line.name == FLOOR}
    gaps = []
    for line in lines:
        floor = floors.get(line.size)
        mean, value = line.cells[metric.key].mean, floor.value(metric) if floor else None
        if floor is None or mean is None or value is None or "labels)" in line.family:
            continue
        interval = songs.interval(metric, line.trials, [floor])
        gaps.append(FloorGap(metric, line.family, line.size, mean, value, floor.row.test_songs, interval))
    return gaps


def floor_words(gaps: Sequence[FloorGap]) -> tuple[str, list[str]]:
    """What the lead of an answer says about the floor ("" if no family is below it), and the points that go with it."""
    top = [gap for gap in gaps if gap.size == max(other.size for other in gaps)]
    below = [gap for gap in top if gap.below]
    lead = " ".join(f"{gap.family.capitalize()} is below the linear floor ({_figures(gap)})." for gap in below)
    points = [_point(gap) for gap in [*below, *(gap for gap in gaps if gap.below and gap not in below)]]
    if top and not below:
        figures = "; ".join(f"{gap.family} {_figures(gap)}{_interval(gap)}" for gap in top)
        at = f"in {top[0].metric.label} with {count_text(top[0].size, 'song')}"
        points.append(f"Above the linear floor {at}: {figures}.")
    return lead, points


def _figures(gap: FloorGap) -> str:
    return f"{gap.mean:.2f} against {gap.floor:.2f}"


def _point(gap: FloorGap) -> str:
    at = f"With {count_text(gap.size, 'song')} {gap.family} is below the linear floor in {gap.metric.label}"
    chance = "" if gap.clear else f", but {count_text(gap.test_songs, 'test song')} cannot rule out chance"
    return f"{at}: {gap.mean:.4f} against {gap.floor:.4f}{_interval(gap)}{chance}."


def _interval(gap: FloorGap) -> str:
    if gap.interval is None:
        return ""
    low, high = (f"{end:.4f}".replace("-", "\N{MINUS SIGN}") for end in gap.interval)
    return f" (95 % interval of the difference over test songs: {low} to {high})"
