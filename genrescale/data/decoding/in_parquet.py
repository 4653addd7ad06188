"""Encoded songs inside of Parquet files, as Hugging Face's datasets hold audio: a column of structs (bytes, path).

The address of such a song is ``FILE.parquet#COLUMN/ROW``, the first row being 0. Its row group is read page by page up
to the row, which is the only way in: memory holds a page, never the file. Writers may put a whole group into a page;
``datasets`` makes groups of a hundred songs or about 100 MB.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import IO

from genrescale.data.decoding.decode import check_size
from genrescale.data.decoding.decoders import DecodeError
from genrescale.storage.errors import StoreError
from genrescale.storage.parquet import ParquetTable
from genrescale.storage.store import Store
from genrescale.storage.web import WEB, RefusedFileError, opened_url

_ADDRESS = re.compile(r"(?P<file>.+\.parquet(?:\?[^#]*)?)#(?P<column>.+)/(?P<row>\d+)", re.DOTALL)


def is_in_parquet(address: str) -> bool:
    return _ADDRESS.fullmatch(address) is not None


def read_song(address: str, internal: bool = False) -> bytes:
    """The encoded file at an address. Raises DecodeError where there is none, StoreError for a store that fails.

    ``internal`` allows web servers with internal addresses.
    """
    found = _ADDRESS.fullmatch(address)
    assert found is not None, address
    try:
        with _opened(found["file"], internal) as file:
            data = ParquetTable(file, "the table").cell(f"{found['column']}.bytes", int(found["row"]))
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
