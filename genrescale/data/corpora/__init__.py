"""Corpora: each lists its songs and its tags; none knows audio or Ray."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from genrescale.audio import Song, Vocabulary
from genrescale.data.corpora import (
    audiofolder,
    fma,
    fma_hf,
    folder,
    gtzan,
    jamendo,
    msd,
    mtat,
    music4all,
    music4all_jamendo,
    synthetic,
    table,
)
from genrescale.data.corpora.listing import Listing

CORPORA: dict[str, Callable[..., tuple[list[Song], Vocabulary]]] = {
    "synthetic": synthetic.list_songs,
    "folder": folder.list_songs,
    "table": table.list_songs,
    "audiofolder": audiofolder.list_songs,
    "mtat": mtat.list_songs,
    "msd": msd.list_songs,
    "fma": fma.list_songs,
    "fma_hf": fma_hf.list_songs,
    "gtzan": gtzan.list_songs,
    "jamendo": jamendo.list_songs,
    "music4all": music4all.list_songs,
    "music4all_jamendo": music4all_jamendo.list_songs,
}
TOLERANT: dict[str, Callable[..., Listing]] = {"table": table.read_listing}
"""The corpora whose tables people write by hand; those of published ones have no bad row, or are not whole."""
_KINDS = {str: "text", bool: "true or false", int: "a whole number", tuple: "a list of names like [train,test]"}


def list_songs(corpus: str, audio: str, **options: Any) -> tuple[list[Song], Vocabulary]:
    """The songs and tags of ``audio``, read as a corpus of CORPORA; its options are its own keyword arguments.

    Raises ValueError for an unknown corpus or option, and whatever the corpus finds wrong, also in one row.
    """
    return list_corpus(corpus, audio, **options).strict()


def list_corpus(corpus: str, audio: str, **options: Any) -> Listing:
    """``list_songs`` that goes on where a row is bad by itself: the corpora of TOLERANT list such rows as rejected."""
    if corpus not in CORPORA:
        raise ValueError(f"corpus={corpus!r} is none of {sorted(CORPORA)}")
    _check_options(corpus, options)
    # absolute, because tasks on the same machine may run in another folder
    audio = audio if "://" in audio else os.path.abspath(os.path.expanduser(audio))
    return TOLERANT[corpus](audio, **options) if corpus in TOLERANT else Listing(*CORPORA[corpus](audio, **options))


def _check_options(corpus: str, options: dict[str, Any]) -> None:
    """Against the signature, so that an option is declared once, where it is used."""
    _, *allowed = inspect.signature(CORPORA[corpus]).parameters.values()
    names = [parameter.name for parameter in allowed]
    for name in options:
        if name not in names:
            raise ValueError(f"corpus={corpus} takes no option {name!r}; it takes {', '.join(names) or 'none'}")
    for parameter in allowed:
        if parameter.name not in options:
            if parameter.default is parameter.empty:
                raise ValueError(f"corpus={corpus} needs the option {parameter.name}: +options.{parameter.name}=...")
            continue
        value = options[parameter.name]
        kind = str if parameter.default is parameter.empty else type(parameter.default)
        if kind in _KINDS and not _is_kind(value, kind):
            raise ValueError(f"option {parameter.name}={value!r} of corpus={corpus} must be {_KINDS[kind]}")


def _is_kind(value: Any, kind: type) -> bool:
    if kind is tuple:
        return isinstance(value, (list, tuple)) and all(isinstance(name, str) for name in value)
    return type(value) is kind  # not isinstance: True is no number
