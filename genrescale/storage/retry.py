"""When a storage error is worth another try, and how long to wait before it. No storage, no Ray."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

# By name, so that a local store needs no S3 client: what botocore, aiohttp and asyncio raise for a connection that
# was refused, cut or silent, or an answer that is no answer.
_CONNECTION_ERRORS = frozenset(
    {
        *("HTTPClientError", "ConnectionError", "IncompleteReadError", "ResponseStreamingError", "ResponseParserError"),
        *("ClientPayloadError", "ClientConnectionError", "IncompleteRead", "TimeoutError", "FSTimeoutError"),
    }
)
_PASSING_CODES = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "InternalError"})
_PASSING_STATUSES = (408, 425, 429)  # besides 5xx


@dataclass(frozen=True)
class Patience:
    """How long one read is tried again: for ``budget_s`` seconds in all, with pauses that double up to a limit.

    Each pause is drawn between half and all of its length, so that workers do not come back all at once.
    """

    budget_s: float = 60.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0

    def __post_init__(self) -> None:
        if self.budget_s < 0 or not 0 < self.first_pause_s <= self.longest_pause_s:
            raise ValueError(f"{self}: budget_s must not be negative, and 0 < first_pause_s <= longest_pause_s")

    def pauses(self) -> Iterator[float]:
        """The seconds to wait before each further try, without end: the caller watches the budget."""
        pause = self.first_pause_s
        while True:
            yield random.uniform(pause / 2, pause)
            pause = min(2 * pause, self.longest_pause_s)


PATIENCE = Patience()


def service_code(error: BaseException) -> str:
    """What an object store answered instead of doing it, e.g. ``SlowDown``; "" for an error of another kind."""
    return _answer(error).get("Error", {}).get("Code", "")


def is_passing(error: BaseException) -> bool:
    """Whether the same read may succeed later: the store is busy, or the connection to it failed.

    A missing object, a refused key or a wrong request is not passing.
    """
    if answer := _answer(error):
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return is_passing_status(status) or service_code(error) in _PASSING_CODES
    return any(kind.__name__ in _CONNECTION_ERRORS for kind in type(error).__mro__)


def is_passing_status(status: int) -> bool:
    """Whether an HTTP status says that the server is busy or broken just now."""
    return status >= 500 or status in _PASSING_STATUSES


def _answer(error: BaseException) -> dict[str, dict]:
    """botocore's account of an answer that was an error; s3fs keeps it in the cause of the error that it raises."""
    return getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
