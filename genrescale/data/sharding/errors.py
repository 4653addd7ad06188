"""What ends the sharding of a corpus: too many broken songs, or a change by somebody else."""

from __future__ import annotations


class FailureBudgetError(RuntimeError):
    """More songs were quarantined than the settings allow."""


class CorpusChangedError(RuntimeError):
    """Another job wrote to the corpus while this one ran."""
