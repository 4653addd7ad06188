"""What ends the sharding of a corpus: too many broken songs, or a change by somebody else."""

from __future__ import annotations


class FailureBudgetError(RuntimeError):
    """More songs went to the quarantine than the settings allow."""


class CorpusChangedError(RuntimeError):
    """Somebody else wrote into a corpus while a job did."""
