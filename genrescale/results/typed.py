"""Read JSON files that others may have written as typed values."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

from genrescale.storage.json_bytes import read_json

Kind = TypeVar("Kind")
STRICT = {"strict": True, "extra": "forbid"}
"""For ``__pydantic_config__`` of a dataclass: every field must be there with its type, and no other."""


def read_typed(kind: type[Kind], data: bytes, where: str) -> Kind:
    """Parse JSON as ``kind``, a dataclass or a type such as ``list[dict[str, float]]``.

    Raises ValueError, with ``where`` and the first wrong field, if the values are not of their types, and as
    ``read_json`` does.
    """
    from pydantic import ValidationError

    read_json(data, where)  # within limits
    try:
        return cast(Kind, _adapter(kind).validate_json(data, strict=True))
    except ValidationError as error:
        first, *others = error.errors()
        field = ".".join(map(str, first["loc"])) or "the file"
        more = f", and {len(others)} more are wrong" if others else ""
        raise ValueError(f"{where}: {field}: {first['msg']}{more}") from None


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter  # takes a quarter of a second, and only readers of results need it

    return TypeAdapter(kind)
