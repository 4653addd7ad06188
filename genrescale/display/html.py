"""Helpers of all HTML pages: data URIs and package resources."""

from __future__ import annotations

import base64
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup


def data_uri(data: bytes, kind: str = "image/svg+xml") -> str:
    """Encode a file as a data URI; ``kind`` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def render_template(package: str, filters: dict[str, Any], name: str = "page.html.jinja", **values: Any) -> str:
    """Return the template ``name`` of a package, filled; its ``css`` is that of all pages and the package's own."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda part: resource(package, part)),  # of a template that includes others
    )
    environment.filters |= {"minus": lambda text: text.replace("-", "\N{MINUS SIGN}"), **filters}
    css = Markup(resource("genrescale.display") + resource(package))
    return environment.from_string(resource(package, name)).render(css=css, **values)


def resource(package: str, name: str = "page.css") -> str:
    """Return the text of a file in a package."""
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
