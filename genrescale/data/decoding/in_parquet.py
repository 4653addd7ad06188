"""Encoded songs inside of Parquet files, as Hugging Face's datasets hold audio: a column of structs (bytes, path).

The address of such a song is ``FILE.parquet#COLUMN/ROW``, the first row being 0. Its row group is read page by page up
to the row, which is the only way in: memory holds a page, never the file. Writers may put a whole group into a page;
``datasets`` makes groups of a hundred songs or about 100 MB.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import IO

from genrescale.data.decoding.decode import check_size
from genrescale.data.decoding.decoders import DecodeError
from genrescale.storage.errors import StoreError
from genrescale.storage.parquet import ParquetTable
from genrescale.storage.store import Store
from genrescale.storage.web import WEB, RefusedFileError, opened_url

_SUFFIX = ".parquet"


def is_in_parquet(address: str) -> bool:
    """Whether a song's address is one of a row in a Parquet file."""
    return _parts(address) is not None


def _parts(address: str) -> tuple[str, str, int] | None:
    """Split ``FILE.parquet#COLUMN/ROW``, where a URL may have a query before the ``#``. Takes linear time."""
    if (cut := address.rfind(f"{_SUFFIX}#")) > 0:
        cut += len(_SUFFIX)
    elif (query := address.rfind(f"{_SUFFIX}?")) > 0:
        cut = address.find("#", query)
    if cut <= 0:
        return None
    column, _, row = address[cut + 1 :].rpartition("/")
    return (address[:cut], column, int(row)) if column and row.isdecimal() and len(row) < 19 else None


def read_song(address: str, internal: bool = False) -> bytes:
    """Return the encoded file at an address. Raises DecodeError if there is none, StoreError if its store fails.

    ``internal`` allows web servers with internal addresses.
    """
    parts = _parts(address)
    assert parts is not None, address
    name, column, row = parts
    try:
        with _opened(name, internal) as file:
            data = ParquetTable(file, "the table").cell(f"{column}.bytes", row)
    except FileNotFoundError:
        raise DecodeError(address, "the file does not exist") from None
    except StoreError:
        raise
    except RefusedFileError as error:
        raise DecodeError(address, str(error)) from None
    except (OSError, KeyError, IndexError, ValueError) as error:
        raise DecodeError(address, f"it cannot be read from Parquet: {error}") from None
    if not isinstance(data, bytes) or not data:
        raise DecodeError(address, "the row holds no audio")
    check_size(len(data), address)
    return data


def _opened(file: str, internal: bool) -> AbstractContextManager[IO[bytes]]:
    if file.startswith(WEB):
        return opened_url(file, internal)
    folder, slash, name = file.rpartition("/")
    store = Store(folder or slash or ".")
    if (local := store.local_path(name)) is not None and not local.is_file():
        raise FileNotFoundError(local)  # opening a pipe would wait for ever
    return store.opened(name)
