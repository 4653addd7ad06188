"""fetch_bytes(): the first stage of sharding, from a song's address to its encoded file."""

from __future__ import annotations

import time
from pathlib import Path

from genrescale.data.decoding.decode import MAX_ENCODED_BYTES, check_size
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.decoding.in_parquet import is_in_parquet, read_song
from genrescale.storage.errors import StoreError
from genrescale.storage.retry import Patience
from genrescale.storage.store import Store

HTTP_PATIENCE = Patience(budget_s=60.0, first_pause_s=1.0, longest_pause_s=30.0)
"""For an HTTP server that cannot be reached or is too busy; clients of buckets try again by themselves."""


def fetch_bytes(path: str) -> bytes | Path:
    """A song's encoded file: its path where it is a local file, else its bytes.

    Raises DecodeError where there is none, where it is too large to be held, and for an address that is none;
    StoreError where the store or server cannot be reached, an HTTP server after HTTP_PATIENCE.
    """
    if is_in_parquet(path):
        return read_song(path)
    if "://" not in path:
        return Path(path)
    if not path.startswith(("http://", "https://")):
        return fetch_once(path)
    started, pauses = time.monotonic(), HTTP_PATIENCE.pauses()
    while True:
        try:
            return fetch_once(path)
        except StoreError:
            pause = next(pauses)
            if time.monotonic() - started + pause > HTTP_PATIENCE.budget_s:
                raise
            time.sleep(pause)


def fetch_once(path: str) -> bytes | Path:
    """``fetch_bytes`` from a store or a server, which is asked once only."""
    folder, _, name = path.rpartition("/")
    try:
        store = Store(folder)
        if path.startswith("file://") and (local := store.local_path(name)) is not None:
            return local  # what is no file, such as a pipe, is refused unopened
        if size := store.size(name):
            check_size(size, path)
            return store.read_bytes(name)
        data = store.read_at_most(name, MAX_ENCODED_BYTES + 1)
        check_size(len(data), path)
        return data
    except FileNotFoundError:
        raise DecodeError(path, "the file does not exist") from None
    except (StoreError, DecodeError):
        raise
    except ValueError as error:  # e.g. a protocol that nobody knows
        raise DecodeError(path, str(error)) from None
