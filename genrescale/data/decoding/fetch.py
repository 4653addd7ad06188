"""fetch_bytes(): the first stage of sharding, from a song's address to its encoded file.

Tables come from strangers, so an address is a file of this machine, an object of a bucket or a file of a web server.
Nothing else that fsspec could open is allowed: no other protocol, and no address inside another one
(``simplecache::https://...``). Web servers have to be public ones (``storage/web.py``).
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from genrescale.data.decoding.decode import MAX_ENCODED_BYTES, check_size
from genrescale.data.decoding.decoders import DecodeError
from genrescale.data.decoding.in_parquet import is_in_parquet, read_song
from genrescale.storage.errors import StoreError
from genrescale.storage.retry import Patience
from genrescale.storage.store import Store
from genrescale.storage.web import WEB, read_url

HTTP_PATIENCE = Patience(budget_s=60.0, first_pause_s=1.0, longest_pause_s=30.0)
"""For a web server that cannot be reached or is too busy; clients of buckets try again by themselves."""
BUCKETS = ("s3://",)
FILE = "file://"
_IPV6 = re.compile(r"(?<=://)([^/@]*@)?\[[^]/]*\]")


def fetch_bytes(address: str, internal: bool = False) -> bytes | Path:
    """Return a song's encoded file: its path if it is a file of this machine, else its bytes.

    ``internal`` allows web servers with internal addresses. Raises DecodeError if there is no such file, if it is too
    large, if the address must not be opened, and for everything else that is wrong with this song alone. Raises
    StoreError if the store or server cannot be reached (a web server: after HTTP_PATIENCE).
    """
    _check_address(address)
    if not address.startswith(WEB):
        return _fetch(address, internal)
    started, pauses = time.monotonic(), HTTP_PATIENCE.pauses()
    while True:
        try:
            return _fetch(address, internal)
        except StoreError:
            pause = next(pauses)
            if time.monotonic() - started + pause > HTTP_PATIENCE.budget_s:
                raise
            time.sleep(pause)


def fetch_once(address: str, internal: bool = False) -> bytes | Path:
    """Return and raise what ``fetch_bytes`` does, without its patience."""
    _check_address(address)
    return _fetch(address, internal)


def _check_address(address: str) -> None:
    """Raise DecodeError for an address of another kind."""
    scheme, separator, rest = address.partition("://")
    if "::" in _IPV6.sub("", address) and (separator or is_in_parquet(address)):
        raise DecodeError(address, "an address with :: in it may lead elsewhere and is not opened")
    if separator and f"{scheme}://" not in (*WEB, *BUCKETS, FILE):
        raise DecodeError(address, "songs are read from files, s3://, http:// and https:// only")
    if address.startswith(FILE) and not rest.startswith("/"):
        raise DecodeError(address, "the address of a file is file:// and its whole path")


def _fetch(address: str, internal: bool) -> bytes | Path:
    try:
        if is_in_parquet(address):
            return read_song(address, internal)
        if "://" not in address or address.startswith(FILE):
            return Path(address.removeprefix(FILE))
        if address.startswith(WEB):
            data = read_url(address, MAX_ENCODED_BYTES + 1, internal)
        else:
            folder, _, name = address.rpartition("/")
            store = Store(folder)
            check_size(store.size(name), address)  # what it says; a store that lies sends no more than the limit
            data = store.read_at_most(name, MAX_ENCODED_BYTES + 1)
        check_size(len(data), address)
        return data
    except FileNotFoundError:
        raise DecodeError(address, "the file does not exist") from None
    except (StoreError, DecodeError):
        raise
    except ValueError as error:  # what the server gives cannot be used, or the address cannot be understood
        raise DecodeError(address, str(error)) from None
    except Exception as error:  # whatever it is, it is about this song
        raise DecodeError(address, f"it cannot be read ({type(error).__name__}: {error})") from None
