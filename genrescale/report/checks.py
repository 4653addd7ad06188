"""What qualifies a report's numbers: the protocol, differences between runs, and missing runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genrescale.config.data import parse_scoring
from genrescale.display.text import count_text
from genrescale.report.tables import ACCURACY, FEW_TEST_SONGS, Line
from genrescale.report.trials import COMPUTE, SEARCH, STUDY, UNPLANNED, TrialOutcome, flat_config
from genrescale.results import ResultRow
from genrescale.scaling import SAME, smallest_difference

COARSE = 0.1  # a difference in accuracy that a test should show
_COORDINATES = {"data.size", "seed", "model.name"}
_DIALS = "model.dials."


@dataclass(frozen=True)
class ConfigDifference:
    """A config key outside the axes that has several values, with the runs of each value."""

    key: str
    values: tuple[tuple[str, str], ...]


def planned_only(trials: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    others = [trial for trial in trials if trial.planned.axis not in (UNPLANNED, SEARCH, COMPUTE)]
    return [trial for trial in others if not trial.planned.axis.startswith(STUDY)]


def _compared(trial: TrialOutcome) -> dict[str, Any]:
    """Return a trial's configuration without its own axis. Dials are keyed by family: each family has its own."""
    dropped = set(_COORDINATES)
    if trial.planned.axis == "lr":
        dropped.add("optim.lr")
    if trial.planned.axis == "layers":
        dropped |= {f"{_DIALS}{name}" for name in trial.planned.layers}
    flat = flat_config(trial.row.config if trial.row else trial.planned.config)
    return {
        (f"{key} of {trial.family}" if key.startswith(_DIALS) else key): value
        for key, value in flat.items()
        if key not in dropped
    }


def config_values(trials: Sequence[TrialOutcome]) -> tuple[dict[str, str], list[ConfigDifference]]:
    """Return the config keys with one value over all planned trials (key -> value), and the keys that differ."""
    whose: dict[str, dict[str, dict[str, int]]] = {}
    for trial in planned_only(trials):
        place = f"{trial.family}, {count_text(trial.planned.size, 'song')}"
        for key, value in _compared(trial).items():
            places = whose.setdefault(key, {}).setdefault(json.dumps(value, sort_keys=True), {})
            places[place] = places.get(place, 0) + 1
    same = {key: next(iter(values)) for key, values in sorted(whose.items()) if len(values) == 1}
    differ = [
        ConfigDifference(
            key,
            tuple(
                (value, "; ".join(f"{place} ({count_text(runs, 'run')})" for place, runs in places.items()))
                for value, places in values.items()
            ),
        )
        for key, values in sorted(whose.items())
        if len(values) > 1
    ]
    return same, differ


def _several(rows: Sequence[ResultRow], name: str) -> str:
    """Return the values of one field over the rows as text; usually there is one."""
    values = {str(getattr(row, name)) for row in rows}
    return ", ".join(sorted(values)) or "unknown: no finished run"


def scoring_text(trials: Sequence[TrialOutcome]) -> str:
    """Describe the scoring protocol of the runs."""
    flats = [flat_config(trial.planned.config) for trial in planned_only(trials)]
    texts = []
    for scoring, crop_s in sorted({(flat.get("data.scoring"), flat.get("data.crop_s")) for flat in flats}, key=str):
        if scoring is None:
            texts.append("unknown")
            continue
        windows = parse_scoring(scoring)
        length = "" if crop_s is None else f" of {crop_s:g} s"
        texts.append(
            f"consecutive, adjacent windows{length}" if windows is None else f"{windows} evenly spaced windows{length}"
        )
    return (
        "; ".join(texts)
        + ". Probabilities are averaged over a song's windows. Metrics are computed over songs, "
        + ("then averaged over tags.")
    )


def facts(trials: Sequence[TrialOutcome]) -> list[tuple[str, str]]:
    """Return names and values of the facts that the comparison depends on."""
    rows = [trial.row for trial in planned_only(trials) if trial.row]
    left_out = sorted({tag for row in rows for tag in row.unscored_tags})
    return [
        ("Scoring", scoring_text(trials)),
        ("Corpus", _several(rows, "corpus")),
        ("Corpus version", _several(rows, "corpus_version")),
        ("Test songs", _several(rows, "test_songs")),
        ("Test songs padded", f"{_several(rows, 'padded_songs')} (shorter than a window)"),
        (
            "Tags left out of the means",
            f"{', '.join(left_out)} (one class only in the test songs)" if left_out else "none",
        ),
        ("Labels", _several(rows, "labels")),
        ("Device", _several(rows, "device")),
        ("Workers per run", _several(rows, "workers")),
        ("Nodes per run", _several(rows, "nodes")),
        ("Code version", _several(rows, "code_version")),
        ("Last run finished", max((row.finished_at for row in rows), default="none")),
    ]


def capped(row: ResultRow) -> bool:
    """Whether training used all its steps before validation stopped improving."""
    return row.steps >= row.max_steps and not row.stopped_early


def _run_notes(unique: Sequence[TrialOutcome], trials: Sequence[TrialOutcome]) -> list[str]:
    missing = [trial for trial in unique if trial.row is None]
    failed = sum(bool(trial.error) for trial in missing)
    extra = len({trial.planned.run_id for trial in trials if trial.planned.axis == UNPLANNED})
    notes = []
    if missing:
        cause = f", {failed} of them failed" if failed else ""
        notes.append(
            f"{len(missing)} of {count_text(len(unique), 'planned run')} missing{cause}. Means are over the others."
        )
    if extra:
        notes.append(f"{count_text(extra, 'finished run')} outside the plan: listed under Runs, not in any mean.")
    return notes


def _data_notes(rows: Sequence[ResultRow]) -> list[str]:
    notes = []
    for name, label in (
        ("corpus", "corpora"),
        ("corpus_version", "corpus versions"),
        ("test_songs", "numbers of test songs"),
    ):
        if len({getattr(row, name) for row in rows}) > 1:
            notes.append(f"The runs used different {label} ({_several(rows, name)}): their scores cannot be compared.")
    digests: dict[tuple[int, str], set[str]] = {}
    for row in rows:
        digests.setdefault((row.size, row.labels), set()).add(row.data_digest)
    mixed = sorted(size for (size, _), different in digests.items() if len(different) > 1)
    if mixed:
        sizes = ", ".join(f"{size:,}" for size in mixed)
        notes.append(f"At {sizes} songs the runs did not use the same data (their digests differ).")
    return notes


def _chance_notes(rows: Sequence[ResultRow], lines: Sequence[Line]) -> list[str]:
    """Few test songs and few seeds: what may make a difference chance."""
    texts = []
    num_songs = min((row.test_songs for row in rows), default=0)
    smallest = smallest_difference(num_songs) if num_songs else 0.0
    if any(row.accuracy is not None for row in rows) and smallest > COARSE:
        texts.append(
            f"Only {count_text(num_songs, 'test song')}: two runs must differ by about {smallest:.2f} in accuracy, or "
            "it may be chance."
        )
    elif 0 < num_songs < FEW_TEST_SONGS:
        texts.append(f"Only {count_text(num_songs, 'test song')}: other songs might have given another answer.")
    largest = [line for line in lines if line.size == max(line.size for line in lines)]
    if any(line.finished == 2 for line in largest):
        texts.append(
            f"Two seeds at {count_text(largest[0].size, 'song')}: they may agree or differ by chance, so the interval "
            "over seeds is wide."
        )
    agreeing = [line for line in lines if (spread := line.cells[_main(line)].spread) is not None and spread <= SAME]
    if agreeing:
        places = ", ".join(f"{line.family} at {line.size:,}" for line in agreeing)
        texts.append(f"Seeds agree to the last digit ({places}): that says nothing about other seeds.")
    return texts


def _main(line: Line) -> str:
    return "accuracy" if ACCURACY.key in line.cells else next(iter(line.cells))


def notes(trials: Sequence[TrialOutcome], lines: Sequence[Line], differ: Sequence[ConfigDifference]) -> list[str]:
    """List the limitations of the comparison, most severe first."""
    unique = list({trial.planned.run_id: trial for trial in planned_only(trials)}.values())
    rows = [trial.row for trial in unique if trial.row]
    texts = _run_notes(unique, trials) + _data_notes(rows)
    if differ:
        texts.append(
            f"Outside the axes the runs differ in: {', '.join(change.key for change in differ)} (see Configuration)."
        )
    texts += _chance_notes(rows, lines)
    single = sorted({line.size for line in lines if line.finished == 1})
    if single:
        sizes = ", ".join(f"{size:,}" for size in single)
        texts.append(f"Only one seed is finished at {sizes} songs, so there is no spread.")
    if hit := sum(capped(row) for row in rows):
        texts.append(
            f"In {hit} of {count_text(len(rows), 'finished run')} validation still improved when the steps were used "
            "up: longer training might change the results."
        )
    if len({row.device for row in rows}) > 1 or len({row.workers for row in rows}) > 1:
        texts.append("The runs used different devices or worker counts: compare their costs with care.")
    return texts
