"""What passes is tried again, longer and longer apart; what does not pass is told at once."""

from __future__ import annotations

from itertools import islice

import pytest

from genrescale.storage.retry import Patience, is_passing, service_code


class HTTPClientError(Exception):
    """As botocore names what a broken connection raises."""


class ConnectionClosedError(HTTPClientError):
    pass


def answered(status: int, code: str) -> OSError:
    """An error as s3fs raises it: the service's answer is in its cause."""
    cause = Exception(code)
    cause.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
    error = OSError(5, code)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [ConnectionClosedError(), ConnectionResetError(), TimeoutError(), answered(503, "SlowDown"), answered(500, "x")],
)
def test_a_busy_store_and_a_broken_connection_pass(error: Exception):
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(),
        PermissionError(),
        ValueError(),
        answered(403, "AccessDenied"),
        answered(416, "InvalidRange"),
    ],
)
def test_a_refusal_does_not_pass(error: Exception):
    assert not is_passing(error)


def test_the_service_is_quoted():
    assert service_code(answered(503, "SlowDown")) == "SlowDown"
    assert service_code(ValueError("x")) == ""


def test_pauses_double_up_to_a_limit_and_differ_between_workers():
    patience = Patience(first_pause_s=0.1, longest_pause_s=1.0)
    for _ in range(20):
        for pause, longest in zip(patience.pauses(), [0.1, 0.2, 0.4, 0.8, 1.0, 1.0], strict=False):
            assert longest / 2 <= pause <= longest
    assert list(islice(patience.pauses(), 6)) != list(islice(patience.pauses(), 6))


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="budget_s must not be negative"):
        Patience(budget_s=-1)
