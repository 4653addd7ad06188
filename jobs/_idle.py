"""Settings that a sweep has, because it shares them with other jobs, and that would have no effect in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

MADE = ("synthesis", "shards")  # settings of a corpus that the sweep makes itself
IDLE = {
    "data.size": "a sweep takes its numbers of songs from sizes=[...]",
    "site.corpus": "give the corpus of a sweep as corpus=",
    "site.out": "give the folder of a sweep as out=",
    "site.parents": "no run of a sweep starts from another one; jobs/train.py can do that",
}


class _Sweep(Protocol):
    corpus: str

    @property
    def synthesis(self) -> object: ...


def refuse_idle(job: _Sweep, typed: Sequence[str]) -> None:
    """Raise ValueError for a setting that was typed and would have no effect."""
    made = {name: f"corpus={job.corpus} is not synthesised" for name in typed if name.startswith(MADE) and job.corpus}
    for name, reason in {**IDLE, **made}.items():
        if name in typed and not (name == "synthesis" and job.synthesis is None):  # synthesis=null says it too
            raise ValueError(f"{name} has no effect here: {reason}")
