"""What every HTML page shares: its style sheet, files embedded as data URIs, and how templates are rendered."""

from __future__ import annotations

import base64
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup


def data_uri(data: bytes, kind: str = "image/svg+xml") -> str:
    """A file inside the page; ``kind`` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def render_template(package: str, filters: dict[str, Any], **values: Any) -> str:
    """The page of ``package``, from its ``page.html.jinja``; ``css`` is the style of all pages and its ``page.css``.

    Text is escaped. A name that the template uses and nobody gives raises jinja2.UndefinedError.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"minus": lambda text: text.replace("-", "\N{MINUS SIGN}"), **filters}
    css = Markup(_resource("genrescale.display") + _resource(package))
    return environment.from_string(_resource(package, "page.html.jinja")).render(css=css, **values)


def _resource(package: str, name: str = "page.css") -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
