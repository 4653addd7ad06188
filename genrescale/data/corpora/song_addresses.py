"""Addresses of songs, as the tables and folders of a corpus give them."""

from __future__ import annotations

import os
import re

from genrescale.storage.store import Store
from genrescale.storage.web import WEB


def root_of(store: Store) -> str:
    """Return the address that precedes a path in ``store``, valid for any process and working folder."""
    local = store.local_path()
    return str(local) if local is not None else store.uri.rstrip("/")


def below(root: str, path: str, where: str = "") -> str:
    """Return the address of the file ``path`` in ``root``.

    Raises ValueError, with ``where``, for a path that leads out of it.
    """
    depth, at = 0, f"{where}: " if where else ""
    for part in path.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            raise ValueError(f"{at}the path {path!r} leads out of {root}")
    if "://" in path or path.startswith("/"):
        raise ValueError(f"{at}the path {path!r} is not inside {root}")
    return f"{root}/{path}"


def resolve(root: str, path: str, where: str) -> str:
    """Return the address of a song in a table of the folder ``root``: a URI, an absolute path, or a path in ``root``.

    Raises ValueError, with ``where``, for a path that leads out, and for a file of this machine if the table is
    elsewhere: whoever can write the table must not choose which local files are read.
    """
    if "://" in root and path.lower().startswith(("/", "file:")):
        raise ValueError(f"{where}: the path {path!r} is a file of this machine, but the table is not on it")
    return path if "://" in path or path.startswith("/") else below(root, path, where)


def canonical(address: str) -> str:
    """Return one spelling for all spellings of a file's address: with ``./``, ``//``, ``file://``, a host in capitals.

    Names of objects in a bucket are taken as they are, because there ``a//b`` is another object than ``a/b``.
    """
    scheme, separator, rest = address.partition("://")
    if not separator or scheme.lower() == "file":
        return os.path.normpath(rest if separator else address)
    host, slash, path = rest.partition("/")
    if f"{scheme.lower()}://" in WEB:
        kept, mark, query = path.partition("?")
        return f"{scheme.lower()}://{host.lower()}{slash}{os.path.normpath(kept) if kept else ''}{mark}{query}"
    return address


def key_source(root: str, path: str) -> str:
    """Return what a song's key is made of: its path as the table has it, or its whole URL if that has a query."""
    return f"{root}/{path}" if root.startswith(WEB) and "://" not in path and re.search("[?#]", path) else path


def folder_of(address: str) -> Store:
    """The folder of a file."""
    folder, slash, _ = address.rpartition("/")
    return Store(folder or slash or ".")


def split_address(address: str) -> tuple[Store, str]:
    """Split the address of a file into its folder and its name. A URL's query stays with the name."""
    if os.path.islink(address):
        address = os.path.realpath(address)
    path, mark, query = address.partition("?") if address.startswith(WEB) else (address, "", "")
    return folder_of(path), f"{path.rpartition('/')[2]}{mark}{query}"


def embedded_address(file: str, column: str, row: int) -> str:
    """Return the address of a song embedded in a row (from 0) of a Parquet file.

    ``data/decoding/in_parquet.py`` reads it.
    """
    return f"{file}#{column}/{row}"
