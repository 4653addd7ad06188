"""The roots of stores, and the check that a path stays inside its root.

The user gives the root, so it is trusted. A path below it may come from anybody (from a manifest, a table, a listing),
so every method of Store checks it here.
"""

from __future__ import annotations

import os
import re
from typing import Any

import fsspec

from genrescale.storage.errors import OutsideError

SCHEMES = ("file", "s3", "http", "https", "gs", "az", "abfs", "memory")
"""Allowed schemes. Those that make fsspec open another file (``simplecache``, ``zip``, ...) are not among them."""
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
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")  # a chain (a::b://) is an address too, and refused


def checked_uri(uri: str) -> str:
    """Return the root of a store: the absolute path of a folder, or the URI as it is.

    ``::`` and wildcards have no meaning in it. Raises ValueError for a scheme that is not in SCHEMES.
    """
    if not uri:
        raise ValueError("a store needs a folder or URI, e.g. corpus=/data/fma")
    if "\0" in uri:
        raise ValueError(f"{uri!r} contains a NUL character, which no address does")
    if not _SCHEME.match(uri):
        # Ray's processes run in other folders, where a relative path would mean another place
        return os.path.abspath(os.path.expanduser(uri))
    scheme = uri.partition("://")[0]
    if scheme not in SCHEMES:
        raise ValueError(f"{uri} does not begin with one of {', '.join(f'{known}://' for known in SCHEMES)}")
    if scheme == "file" and not uri.startswith("file:///"):
        raise ValueError(f"{uri} is not a folder of this machine; write file:///FOLDER")
    return uri


def local_root(uri: str) -> str | None:
    """Return the folder of a local store, else None."""
    if uri.startswith(_FILE):
        return os.path.normpath(uri.removeprefix(_FILE))
    return None if _SCHEME.match(uri) else uri


def file_system(uri: str) -> tuple[Any, str]:
    """Return fsspec's file system for a store, and the root as fsspec writes it.

    Its type is Any, because fsspec's annotations allow bytes for paths and None for sizes.
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
    """Raise OutsideError if ``path`` leads, or may lead, out of the store at ``uri``.

    In a local store no folder of the path may be a symbolic link out of the root, and a file that is ``opened`` may not
    be one either. A file that is replaced or deleted may, because the link itself is. The root may be a link.
    """
    if not path:
        return
    if path.startswith("/") or _SCHEME.match(path):
        raise OutsideError(f"{path!r} is a whole address; a path below {uri} is needed")
    if ".." in path.split("/"):
        raise OutsideError(f"{path!r} leads out of {uri}")
    if _CONTROL.search(path):
        raise OutsideError(f"{path!r} below {uri} contains a control character; rename the file")
    if (root := local_root(uri)) is None:
        return
    place = os.path.join(root, path if opened else os.path.dirname(path))
    base, real = os.path.realpath(root), os.path.realpath(place)
    if os.path.commonpath([base, real]) != base:
        raise OutsideError(
            f"{root}/{path} leads out of {root} by a symbolic link, to {real}; "
            "put a copy there (cp -rL follows links), or give that folder itself"
        )
