"""The failure budget of sharding: how many songs and table rows may fail before the job stops."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from genrescale.config.corpus import ShardSettings
from genrescale.data.quarantine import QUARANTINE_PATH
from genrescale.data.sharding.errors import FailureBudgetError
from genrescale.data.sharding.plan import ShardPlan

MIN_FAILURES = 3
"""This many failures are allowed in a corpus of any size, so that one bad file does not stop a folder of fifty."""
_REMEDY = (
    "Repair them and run again with retry_quarantined=true (rows of a table: with append=true), "
    "or raise max_failure_rate and run again"
)
_REMEDY_BEFORE = "Repair the table and run again, or raise max_failure_rate"


def failure_limit(settings: ShardSettings, num_songs: int) -> int:
    """Return how many songs may be quarantined: ``max_failure_rate`` of them, at least MIN_FAILURES.

    At a rate of 0 none may.
    """
    if not settings.max_failure_rate:
        return 0
    return max(MIN_FAILURES, int(settings.max_failure_rate * num_songs))


class Budget:
    """The failure budget of a corpus, checked for each addition, so that failures cannot hide in a large corpus.

    A rejected row counts as a song that failed.
    """

    def __init__(self, plan: ShardPlan, takedowns: Mapping[str, str]) -> None:
        self._plan, self._takedowns = plan, takedowns
        added = plan.generation > 0
        self._generation_of = {plan.songs[i].key: int(plan.generation[i]) for i in np.flatnonzero(added)}
        self._generation_of |= {row.key: row.generation for row in plan.rejected}
        self._rejected = {row.key: row.reason for row in plan.rejected}
        generation_of_each = np.r_[plan.generation, np.array([row.generation for row in plan.rejected], np.int64)]
        self._sizes = np.bincount(generation_of_each)

    def check(self, reasons: Mapping[str, str], planned: bool = True) -> None:
        """Raise FailureBudgetError if more songs failed than allowed. Songs that were taken down do not count.

        ``reasons`` maps keys of failed songs to reasons. ``planned`` means that the plan is already written, so that
        repaired rows would be additions.
        """
        reasons = {**reasons, **self._rejected}
        failed = [key for key in reasons if key not in self._takedowns]
        counts = np.bincount([self._generation_of.get(key, 0) for key in failed], minlength=len(self._sizes))
        for generation, (count, size) in enumerate(zip(counts.tolist(), self._sizes.tolist(), strict=True)):
            if count > (limit := failure_limit(self._plan.settings, size)):
                keys = [key for key in failed if self._generation_of.get(key, 0) == generation]
                what = "added songs" if generation else "songs"
                remedy = _REMEDY if planned else _REMEDY_BEFORE
                self._refuse({key: reasons[key] for key in keys}, size, limit, what, remedy)

    def _refuse(self, failed: Mapping[str, str], size: int, limit: int, what: str, remedy: str) -> None:
        path_of = {song.key: song.path for song in (*self._plan.songs, *self._plan.rejected) if song.key in failed}
        first = "; ".join(f"{path_of[key]}: {failed[key]}" for key in sorted(failed)[:3])
        min_s = self._plan.settings.min_s
        if short := sum(reason.endswith(f"is shorter than min_s={min_s:g}") for reason in failed.values()):
            remedy = f"{short} of them are too short, and a lower min_s keeps them (also in a begun corpus). {remedy}"
        raise FailureBudgetError(
            f"{len(failed)} of {size} {what} failed, more than the {limit} that "
            f"max_failure_rate={self._plan.settings.max_failure_rate:g} allows. The first: {first}. "
            f"All are in {QUARANTINE_PATH}. {remedy}"
        )
