"""Decide whether a storage error is worth another attempt, and how long to wait before it. No storage, no Ray."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

CLIENTS = ("botocore", "aiobotocore", "aiohttp", "asyncio", "obstore")
"""Modules whose errors are those of a connection or of a server."""
# By name, so that a local store needs no S3 client: what botocore, aiohttp and asyncio raise if a connection is
# refused, cut or silent, or if the answer cannot be parsed.
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
    """How long a failing read is repeated: for ``budget_s`` seconds in total, with pauses that double up to a limit.

    Each pause is drawn between half and all of its length, so that workers do not retry all at once.
    """

    budget_s: float = 60.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0

    def __post_init__(self) -> None:
        if self.budget_s < 0 or not 0 < self.first_pause_s <= self.longest_pause_s:
            raise ValueError(f"{self}: budget_s must not be negative, and 0 < first_pause_s <= longest_pause_s")

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to wait before each further attempt, endlessly; the caller checks the budget."""
        pause = self.first_pause_s
        while True:
            yield random.uniform(pause / 2, pause)
            pause = min(2 * pause, self.longest_pause_s)


PATIENCE = Patience()


def service_code(error: BaseException) -> str:
    """Return the error code of an object store's answer, e.g. ``SlowDown``; "" for any other error."""
    return _answer(error).get("Error", {}).get("Code", "")


def status_of(error: BaseException) -> int:
    """Return the HTTP status of an object store's answer; 0 for any other error."""
    return _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def is_passing(error: BaseException) -> bool:
    """Return whether the same read may succeed later: the store is busy, or the connection failed.

    A missing object, a refused key and a wrong request will not.
    """
    if _answer(error):
        return is_passing_status(status_of(error)) or service_code(error) in _PASSING_CODES
    return any(kind.__name__ in _CONNECTION_ERRORS for kind in type(error).__mro__)


def is_passing_status(status: int) -> bool:
    """Return whether an HTTP status means that the server is busy or broken at the moment."""
    return status >= 500 or status in _PASSING_STATUSES


def outage(error: FileNotFoundError) -> str:
    """Return why a file cannot be found at the moment; "" if it does not exist. fsspec raises the same for both."""
    cause = error.__cause__
    if cause is None or not type(cause).__module__.startswith(CLIENTS) or service_code(error):
        return ""  # no client's error, or an object store answered that there is no such object
    status = getattr(cause, "status", 0)
    return "" if 400 <= status < 500 and not is_passing_status(status) else str(cause)


def _answer(error: BaseException) -> dict[str, dict]:
    """Return botocore's description of an error response; s3fs keeps it in the cause of the error that it raises."""
    return getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
