"""What every HTML page shares: files embedded as data URIs and resources of the package."""

from __future__ import annotations

import base64
from importlib import resources


def data_uri(data: bytes, kind: str = "image/svg+xml") -> str:
    """A file inside the page; ``kind`` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def resource(name: str, package: str = "genrescale.report") -> str:
    """The text of a file of the package."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
