"""Corpora: each lists its songs and its tags; none knows audio or Ray."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from genrescale.audio import Song, Vocabulary
from genrescale.data.corpora import folder, synthetic, table

CORPORA: dict[str, Callable[..., tuple[list[Song], Vocabulary]]] = {
    "synthetic": synthetic.list_songs,
    "folder": folder.list_songs,
    "table": table.list_songs,
}


def list_songs(corpus: str, audio: str, **options: Any) -> tuple[list[Song], Vocabulary]:
    """The songs and tags of ``audio``, read as a corpus of CORPORA; ``columns`` is an option of ``table`` alone.

    Raises ValueError for an unknown corpus or option, and whatever the corpus finds wrong.
    """
    if corpus not in CORPORA:
        raise ValueError(f"corpus={corpus!r} is none of {sorted(CORPORA)}")
    if options and corpus != "table":
        raise ValueError(f"corpus={corpus} takes no {sorted(options)}; only corpus=table does")
    # absolute, because tasks on the same machine may run in another folder
    return CORPORA[corpus](audio if "://" in audio else os.path.abspath(audio), **options)
