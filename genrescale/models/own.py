"""A model of your own module: ``package.module:Class``, without a change to this package.

It is imported where a person names it, in a setting or a call of ``use_own``. A name that stands in a result row, an
exported model or a checkpoint imports nothing, because whoever wrote that file would choose the code that runs.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from genrescale.models.parts.protocol import Tagger

_NAMED: dict[str, type[Tagger]] = {}  # those that a person named in this process


def is_own(name: str) -> bool:
    """Return whether ``name`` has the form of a model of your own."""
    return ":" in name


def use_own(name: str) -> None:
    """Import the model ``package.module:Class``, so that it can be built by that name; other names are left alone.

    The module must be installed, or lie in a folder of PYTHONPATH, on every node. Raises ValueError for a name that
    leads to no model.
    """
    if not is_own(name) or name in _NAMED:
        return
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        raise ValueError(f"model {name!r} is not of the form package.module:Class")
    module, _, wanted = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), wanted, None)
    except ImportError as error:
        raise ValueError(
            f"model {name}: {error}; install the package, or name its folder in PYTHONPATH, on every node"
        ) from None
    if not isinstance(found, type):
        raise ValueError(f"model {name}: {module} has no class {wanted}")
    _check_dials(name, getattr(found, "Dials", None))
    _NAMED[name] = found


def own_model(name: str) -> type[Tagger]:
    """Return the class of a model that ``use_own`` has imported. Raises ValueError for any other."""
    if name not in _NAMED:
        raise ValueError(
            f"model {name!r} lies in a module of its own, which a file may not import: if you trust that code, name it "
            f"yourself: own_model={name}"
        )
    return _NAMED[name]


def _check_dials(name: str, dials: Any) -> None:
    lacks = "defaults for all its fields"
    if not (isinstance(dials, type) and is_dataclass(dials)):
        lacks = "a class Dials that is a dataclass"
    elif not hasattr(dials, "min_input_len"):
        lacks = "min_input_len in its Dials: the shortest input in samples"
    elif all(field.default is not MISSING or field.default_factory is not MISSING for field in fields(dials)):
        return
    raise ValueError(f"model {name} lacks {lacks} (CONTRIBUTING.md, Add a model, says what a model needs)")
