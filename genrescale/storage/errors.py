"""What a store that fails raises, and how the operating system says that a disk is full."""

from __future__ import annotations

import errno

from genrescale.addresses import scrubbed

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class StoreError(ValueError):
    """A store that cannot be reached or refuses; says which, why, and what to check, without credentials."""

    def __init__(self, message: str) -> None:
        super().__init__(scrubbed(message))


class OutsideError(ValueError):
    """A path leads out of its store, or has a name that must not be deleted."""


class TooLargeError(ValueError):
    """A file has more bytes than are read of such a file."""


class BusyError(ValueError):
    """Another job writes to the same store at the moment."""


class LeaseLostError(RuntimeError):
    """This job may not write to a store any more, because another one has taken over, or its lease was deleted."""
