"""What a check found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from genrescale.addresses import scrubbed

State = Literal["ok", "warning", "fault"]
_NAME_WIDTH, _STATE_WIDTH = 18, 7


@dataclass(frozen=True)
class Finding:
    """One line of jobs/doctor.py: a check, its state, what was found, and what to mend where it is not ok."""

    check: str
    state: State
    found: str
    mend: str = ""

    def __post_init__(self) -> None:
        assert bool(self.mend) == (self.state != "ok"), f"{self.check}: a remedy, and only where it is not ok"

    def lines(self) -> str:
        """Format the finding: a line, and a second one with what to mend."""
        first = f"{self.state:{_STATE_WIDTH}}  {self.check:{_NAME_WIDTH}}  {' '.join(self.found.split())}"
        return f"{first}\n{'':{_STATE_WIDTH}}  {'':{_NAME_WIDTH}}  mend: {self.mend}" if self.mend else first


def ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def warning(check: str, found: str, mend: str) -> Finding:
    return Finding(check, "warning", found, mend)


def fault(check: str, found: str, mend: str) -> Finding:
    return Finding(check, "fault", found, mend)


def examined(check: str, examine: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a check finds. An exception is a finding too: a broken machine breaks checks in ways that none foresees."""
    try:
        return list(examine())
    except Exception as error:
        text = scrubbed(" ".join(str(error).split()))
        return [fault(check, f"{type(error).__name__}: {text}", "see what the error says; without it this cannot work")]
