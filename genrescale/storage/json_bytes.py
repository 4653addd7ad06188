"""Parse JSON within limits, so that a hostile file is an error of one sentence and does not end the process."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

JSON_BYTES = 16 << 20
"""The largest JSON file that is read: the plan of a sweep with 5,000 trials has 10 MB."""
MAX_DEPTH = 64  # of nested lists and objects; at about 1,000 Python's parser raises RecursionError
_NO_BRACKETS = re.compile(
    r'"(?:[^"\\]++|\\.)*+"|[^\[\]{}"]++|"', re.DOTALL
)  # strings, and everything else but brackets
_PAIR = re.compile(r"\[\]|\{\}")


def read_json(data: bytes | str, where: str, limit: int = JSON_BYTES, max_digits: int = 19) -> Any:
    """Parse a JSON text in UTF-8. ``where`` names it in errors.

    Raises ValueError if it is not JSON, has more than ``limit`` bytes or MAX_DEPTH levels, an object has a key twice,
    or an integer has more than ``max_digits`` digits.
    """
    try:
        if len(data) > limit:
            raise ValueError(f"it has {len(data):,} bytes, more than {limit:,}")
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        if _depth(text) > MAX_DEPTH:
            raise ValueError(f"its lists and objects are nested more than {MAX_DEPTH} deep")
        return json.loads(text, object_pairs_hook=_object, parse_int=partial(_int, max_digits))
    except ValueError as error:
        raise ValueError(f"{where} is not JSON that can be read: {error}") from None


def read_object(data: bytes | str, where: str, limit: int = JSON_BYTES) -> dict[str, Any]:
    """Parse a JSON object with ``read_json``. Raises ValueError for any other value."""
    if not isinstance(found := read_json(data, where, limit), dict):
        raise ValueError(f"{where} is not a JSON object")
    return found


def _depth(text: str) -> int:
    """Return how deep brackets are nested, at most MAX_DEPTH + 1. Each unmatched bracket counts as one level."""
    brackets, depth = _NO_BRACKETS.sub("", text), 0
    while brackets and depth <= MAX_DEPTH:
        brackets, removed = _PAIR.subn("", brackets)
        depth += 1 if removed else len(brackets)
        if not removed:
            break
    return min(depth, MAX_DEPTH + 1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"an object has the key {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return found


def _int(max_digits: int, digits: str) -> int:
    if len(digits.lstrip("-")) > max_digits:
        raise ValueError(f"the number {digits[:10]}... has more than {max_digits} digits")
    return int(digits)
