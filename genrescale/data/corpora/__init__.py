"""Corpora: modules that list a corpus's songs and tags from its tables. They read no audio and do not use Ray."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from genrescale.audio import Song, Vocabulary
from genrescale.config.checks import suggestion
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
from genrescale.data.corpora.song_addresses import split_address
from genrescale.data.corpora.walking import beside_table, passed_over
from genrescale.storage.store import Store

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
LISTINGS: dict[str, Callable[..., Listing]] = {
    "table": table.read_listing,
    "folder": folder.read_listing,
    "audiofolder": audiofolder.read_listing,
}
"""Corpora made by hand: their listings tell bad rows and passed files. In others a bad row is an error."""
UNACCOUNTED = ("synthetic",)
"""Corpora that genrescale wrote."""
_KINDS = {str: "text", bool: "true or false", int: "a whole number", tuple: "a list of names like [train,test]"}


def list_songs(corpus: str, audio: str, **options: Any) -> tuple[list[Song], Vocabulary]:
    """List the songs and tags of ``audio``, read as a corpus of CORPORA.

    ``options`` are keyword arguments of that corpus. Raises ValueError for an unknown corpus or option, and for any
    problem in the corpus, even in a single row.
    """
    return _listed(corpus, audio, options).strict()


def list_corpus(corpus: str, audio: str, **options: Any) -> Listing:
    """List a corpus as ``list_songs`` does, and what is passed over and, for corpora in LISTINGS, rejected."""
    listing = _listed(corpus, audio, options)
    if corpus == "table":
        named = [*(song.address for song in listing.songs), *(row.path for row in listing.rejected)]
        return replace(listing, passed=beside_table(split_address(_whole(audio))[0], named))
    if corpus in LISTINGS or corpus in UNACCOUNTED:
        return listing
    return replace(listing, passed=passed_over(Store(_whole(audio)), [song.address for song in listing.songs]))


def _listed(corpus: str, audio: str, options: dict[str, Any]) -> Listing:
    if corpus not in CORPORA:
        raise ValueError(f"corpus={corpus!r} is none of {sorted(CORPORA)}{suggestion(corpus, CORPORA)}")
    _check_options(corpus, options)
    audio = _whole(audio)
    return LISTINGS[corpus](audio, **options) if corpus in LISTINGS else Listing(*CORPORA[corpus](audio, **options))


def _whole(audio: str) -> str:
    """Return an absolute address, because tasks on the same machine may run in another folder."""
    return audio if "://" in audio else os.path.abspath(os.path.expanduser(audio))


def _check_options(corpus: str, options: dict[str, Any]) -> None:
    """Check options against the signature of the corpus, where they are declared."""
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
    return type(value) is kind  # not isinstance, because True is an int
