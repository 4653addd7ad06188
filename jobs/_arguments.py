"""The arguments of a job: positional values, settings that are text, and the rest, which Hydra parses.

Hydra's grammar reads numbers, lists and quotes. In it the folder ``2024_05_01`` is a number, and ``R&B`` or ``Música``
is an error. So a setting that is text is not parsed: it is what follows the ``=``.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import os
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

_QUOTES = ("'", '"')
_NEAR = 0.85  # the similarity of words with one letter too few or too many
_SUGGESTED = 2


def positional_apart(schema: type, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate plain values from options and ``key=value`` arguments.

    After ``--`` everything is a value but a setting of the job, unless there is a file of that name. File names may
    begin with a dash, and they and addresses may contain ``=``.
    """
    arguments, after = list(arguments), []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, after = arguments[:cut], arguments[cut + 1 :]
        settings = [a for a in after if not os.path.exists(a) and _type_of(schema, a.partition("=")[0]) is not None]
        arguments, after = [*arguments, *settings], [a for a in after if a not in settings]
    values = [a for a in arguments if os.path.exists(a) or _is_address(a) or not (a.startswith("-") or "=" in a)]
    return [*values, *after], [a for a in arguments if a not in values]


def _is_address(argument: str) -> bool:
    return "://" in argument.partition("=")[0]


def table_of(schema: type, key: str) -> tuple[str, str] | None:
    """The table of texts that a setting belongs to, and its name there, which may have dots; None for other settings.

    ``search.space.optim.lr`` -> (``search.space``, ``optim.lr``).
    """
    names = key.split(".")
    for end in range(1, len(names)):
        if _type_of(schema, ".".join(names[:end])) == dict[str, str]:
            return ".".join(names[:end]), ".".join(names[end:])
    return None


def texts_apart(schema: type, overrides: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Separate the settings that are text, by their dotted names, from the overrides that Hydra parses.

    Quotes around a whole text are taken off, as Hydra does.
    """
    texts, others = {}, []
    for override in overrides:
        key, equals, value = override.partition("=")
        if equals and _type_of(schema, key) is str:
            texts[key] = _unquoted(value)
        else:
            others.append(override)
    return texts, others


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in _QUOTES:
        return value[1:-1].replace(f"\\{value[0]}", value[0])
    return value


def _type_of(schema: type, key: str) -> Any:
    """Return the type of a setting, None if there is no such setting."""
    found: Any = schema
    for name in key.split("."):
        if found == dict[str, str]:
            return str  # whatever its name is, dots included
        if not dataclasses.is_dataclass(found):
            return None
        found = _without_none(typing.get_type_hints(found).get(name))
    return found


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(kind) if part is not type(None)]
        return parts[0] if len(parts) == 1 else kind
    return kind


def settings_of(schema: type, prefix: str = "") -> Iterator[str]:
    """List the dotted names of all settings."""
    for name, kind in typing.get_type_hints(schema).items():
        if dataclasses.is_dataclass(kind := _without_none(kind)):
            yield from settings_of(typing.cast(type, kind), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def cut_apart(overrides: Sequence[str]) -> str:
    """Describe the first list that a shell cut into two arguments at a space; "" if there is none."""
    for first, second in itertools.pairwise(overrides):
        if first.count("[") > first.count("]") and second.count("]") > second.count("["):
            return f"{first} and {second} are two arguments: quote a list with spaces, '{first} {second}'"
    return ""


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """Suggest the most similar of some dotted names: ``; did you mean site.corpus?``, or "" if none is similar.

    A name's last word counts. For the name of a group, its settings are suggested.
    """
    end = name.rpartition(".")[2]
    alike = {known: difflib.SequenceMatcher(None, end, known.rpartition(".")[2]).ratio() for known in names}
    of_group = [known for known in names if end in known.split(".")[:-1]]
    near = sorted((known for known in names if alike[known] >= _NEAR), key=lambda known: -alike[known])
    meant = (near or of_group or difflib.get_close_matches(name, names, n=1))[:_SUGGESTED]
    return f"; did you mean {' or '.join(meant)}?" if meant else ""
