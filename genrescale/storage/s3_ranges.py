"""Read ranges of objects in an S3 bucket with obstore, which needs a third of the CPU time of s3fs. No Ray.

A run from a bucket requests a range for every crop. Writing, listing and deleting go through fsspec
(``genrescale.storage.store``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import obstore
from botocore.session import get_session
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from genrescale.storage.retry import is_passing_status

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

_AT_ONCE = 32
_CLIENT: ClientConfig = {"allow_http": True, "connect_timeout": "5s", "read_timeout": "15s"}
_ONE_TRY: RetryConfig = {"max_retries": 0}  # Store reads a range again and counts it
_KEYS_LAST = timedelta(minutes=10)  # then botocore is asked again, which renews expiring keys
_STATUS = re.compile(r"status code: (\d{3})")
_BEHIND_THE_END = 416


def read_s3_ranges(bucket: str, ranges: Sequence[tuple[str, int, int]]) -> list[memoryview | Exception]:
    """Return the bytes or the error of every range (key, offset, length), requested at the same time.

    A range is shorter if the object ends before its end, and empty if it ends before the offset. An error is a
    FileNotFoundError, a PermissionError, a ConnectionError (the connection is cut, refused or silent, or the store is
    busy, which may pass) or the client's own.
    """
    session = get_session()
    client = _client(bucket, _endpoint(), session.get_config_variable("region") or "us-east-1")
    with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(ranges)))) as pool:
        return list(pool.map(lambda wanted: _read(client, *wanted), ranges))


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


@lru_cache(maxsize=8)  # a client keeps its connections
def _client(bucket: str, endpoint: str | None, region: str) -> S3Store:
    place: S3Config = {"region": region}
    if endpoint:
        place["endpoint"] = endpoint
    return S3Store(bucket, config=place, client_options=_CLIENT, retry_config=_ONE_TRY, credential_provider=_keys)


def _keys() -> S3Credential:
    """Return the keys that botocore finds, as s3fs does: from the environment, a profile or the machine's role."""
    found = get_session().get_credentials()
    if found is None:
        raise PermissionError("no keys were found")
    keys = found.get_frozen_credentials()
    return {
        "access_key_id": keys.access_key,
        "secret_access_key": keys.secret_key,
        "token": keys.token,
        "expires_at": datetime.now(UTC) + _KEYS_LAST,
    }


def _read(client: S3Store, key: str, offset: int, length: int) -> memoryview | Exception:
    if not length:
        return memoryview(b"")
    try:
        return memoryview(obstore.get_range(client, key, start=offset, length=length))
    except (BaseError, OSError) as error:
        text = str(error).split("\n\nDebug source")[0]
        found = _STATUS.search(text)
        status = int(found[1]) if found else 0
        if status == _BEHIND_THE_END:
            return memoryview(b"")
        if isinstance(error, OSError):
            return type(error)(text)
        if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
            return PermissionError(text)
        return ConnectionError(text) if not status or is_passing_status(status) else type(error)(text)
