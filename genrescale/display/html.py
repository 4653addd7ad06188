"""Helpers of all HTML pages: data URIs and package resources."""

from __future__ import annotations

import base64
from importlib import resources


def data_uri(data: bytes, kind: str = "image/svg+xml") -> str:
    """Encode a file as a data URI; ``kind`` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def resource(name: str, package: str = "genrescale.report") -> str:
    """Return the text of a file in a package."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
