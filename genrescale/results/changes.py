"""What a changed config or corpus makes of the finished runs of a sweep, told before anything is run again."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genrescale.results import PLANNED_PATH, PlannedTrial, is_finished, read_planned
from genrescale.storage.store import Store
from genrescale.telemetry.terminal import say

DATA_CHANGED = "the data that it selects (songs, audio, labels or splits of the corpus)"


def outdated(files: Store, planned: Sequence[PlannedTrial]) -> dict[str, list[str]]:
    """Finished runs whose place in the sweep now belongs to another run: run id -> what has changed.

    A place is an axis with its coordinates; ``planned`` is the sweep as it would run now, ``files`` holds the last one.
    """
    if not files.exists(PLANNED_PATH):
        return {}
    now = {_place(trial): trial for trial in planned}
    wanted = {trial.run_id for trial in planned}
    found: dict[str, list[str]] = {}
    for earlier in read_planned(files):
        later = now.get(_place(earlier))
        if later is None or earlier.run_id in wanted or not is_finished(files, earlier.run_id):
            continue
        found[earlier.run_id] = list(config_differences(earlier.config, later.config)) or [DATA_CHANGED]
    return found


def show_outdated(files: Store, planned: Sequence[PlannedTrial], allowed: bool) -> None:
    """Tell on stderr which finished runs a change makes worthless. Raises ValueError unless that is ``allowed``."""
    if not (found := outdated(files, planned)):
        return
    say(describe_outdated(found), sys.stderr)
    if not allowed:
        raise ValueError(
            f"{files.uri} holds these runs; add rerun=true to run them anew, take another out=, or delete it"
        )


def describe_outdated(found: Mapping[str, Sequence[str]]) -> str:
    """A line for each change, with the number of finished runs that it concerns."""
    counts = Counter(change for changes in found.values() for change in changes)
    lines = [f"  {change}: {count} finished run(s)" for change, count in sorted(counts.items())]
    return "\n".join([f"{len(found)} finished run(s) are not of this sweep any more, because these changed:", *lines])


def _place(trial: PlannedTrial) -> tuple[object, ...]:
    rate = trial.lr if trial.axis == "lr" else None
    return trial.axis, trial.model, trial.size, trial.seed, rate, tuple(sorted(trial.layers.items()))


def config_differences(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """``key old -> new`` for every key of two configs that differs, keys of nested ones with dots."""
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from config_differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key} {old} -> {new}"
