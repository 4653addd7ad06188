"""Encoded songs inside of Parquet files, as Hugging Face's datasets hold audio: a column of structs (bytes, path).

The address of such a song is ``FILE.parquet#COLUMN/ROW``, the first row being 0. Its row group is read page by page up
to the row, which is the only way in: memory holds a page, never the file. Writers may put a whole group into a page;
``datasets`` makes groups of a hundred songs or about 100 MB.
"""

from __future__ import annotations

import re

from genrescale.data.decoding.decode import check_size
from genrescale.data.decoding.decoders import DecodeError
from genrescale.storage.errors import StoreError
from genrescale.storage.parquet import ParquetTable
from genrescale.storage.store import Store

_ADDRESS = re.compile(r"(?P<file>.+\.parquet)#(?P<column>.+)/(?P<row>\d+)", re.DOTALL)


def is_in_parquet(address: str) -> bool:
    return _ADDRESS.fullmatch(address) is not None


def read_song(address: str) -> bytes:
    """The encoded file at an address. Raises DecodeError where there is none, StoreError for a store that fails."""
    found = _ADDRESS.fullmatch(address)
    assert found is not None, address
    folder, slash, name = found["file"].rpartition("/")
    try:
        with Store(folder or slash or ".").opened(name) as file:
            data = ParquetTable(file, "the table").cell(f"{found['column']}.bytes", int(found["row"]))
    except FileNotFoundError:
        raise DecodeError(address, "the file does not exist") from None
    except StoreError:
        raise
    except (ValueError, OSError, IndexError) as error:
        raise DecodeError(address, f"it cannot be read from Parquet: {error}") from None
    if not isinstance(data, bytes) or not data:
        raise DecodeError(address, "the row holds no audio")
    check_size(len(data), address)
    return data
