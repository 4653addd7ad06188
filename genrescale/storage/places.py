"""Where a store lies, and which paths lie inside it.

A root is given by the user and trusted. A path below it may come from anybody (a manifest, a table, a listing), so it
is checked here, by every method of Store: it has to stay inside the root.
"""

from __future__ import annotations

import os
import re
from typing import Any

import fsspec

from genrescale.storage.errors import OutsideError

SCHEMES = ("file", "s3", "http", "https", "gs", "az", "abfs", "memory")
"""Kinds of stores. None that fsspec chains or unpacks (``simplecache``, ``zip``, ...): they open other files."""
# Keys, region and endpoint come from the environment (AWS_*), where botocore finds them.
_S3_OPTIONS = {
    "use_listings_cache": False,  # other processes write what this one lists
    "config_kwargs": {
        "retries": {"mode": "standard", "max_attempts": 6},
        "connect_timeout": 5,
        "read_timeout": 30,
        "max_pool_connections": 64,
    },
}
_FILE = "file://"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")  # with the colons of a chain: it is an address, and refused


def checked_uri(uri: str) -> str:
    """The root of a store: a folder as an absolute path, any other as it is. Raises ValueError for an unknown scheme.

    Names are taken as they are: ``::`` and wildcards have no meaning.
    """
    if not uri:
        raise ValueError("a store needs a folder or URI, e.g. corpus=/data/fma")
    if "\0" in uri:
        raise ValueError(f"{uri!r} holds a NUL character, which no address has")
    if not _SCHEME.match(uri):
        # Ray's processes run in other folders, where a relative path would name another place.
        return os.path.abspath(os.path.expanduser(uri))
    scheme = uri.partition("://")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"{uri} begins with none of {', '.join(f'{known}://' for known in SCHEMES)}")
    if scheme == "file" and not uri.startswith("file:///"):
        raise ValueError(f"{uri} names no folder of this machine; write file:///FOLDER")
    return uri


def local_root(uri: str) -> str | None:
    """The folder of a local store, else None."""
    if uri.startswith(_FILE):
        return os.path.normpath(uri.removeprefix(_FILE))
    return None if _SCHEME.match(uri) else uri


def file_system(uri: str) -> tuple[Any, str]:
    """fsspec's file system of a store, and the root as it names it.

    Any: fsspec's own annotations promise str or bytes, and sizes that may be None.
    """
    if (root := local_root(uri)) is not None:
        return fsspec.filesystem("file"), root.rstrip("/")
    scheme = uri.partition("://")[0]
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise ValueError(f"{uri} cannot be read here: {error}") from None
    options = _S3_OPTIONS if scheme == "s3" else kind._get_kwargs_from_urls(uri)
    return kind(**options), str(kind._strip_protocol(uri)).rstrip("/")


def check_path(uri: str, path: str, opened: bool = True) -> None:
    """Raises OutsideError where ``path`` leads, or might lead, out of the store at ``uri``.

    A symbolic link out of a local store is refused where the file is ``opened``; one that is replaced or deleted may be
    such a link itself, but not lie behind one. The root itself may be a link.
    """
    if not path:
        return
    if path.startswith("/") or _SCHEME.match(path):
        raise OutsideError(f"{path!r} is a whole address, where a path below {uri} is needed")
    if ".." in path.split("/"):
        raise OutsideError(f"{path!r} leads out of {uri}")
    if _CONTROL.search(path):
        raise OutsideError(f"{path!r} below {uri} holds a control character; rename the file")
    if (root := local_root(uri)) is None:
        return
    place = os.path.join(root, path if opened else os.path.dirname(path))
    base, real = os.path.realpath(root), os.path.realpath(place)
    if os.path.commonpath([base, real]) != base:
        raise OutsideError(
            f"{root}/{path} leads out of {root} by a symbolic link, to {real}; "
            "put a copy there (cp -rL follows links), or give that folder itself"
        )
