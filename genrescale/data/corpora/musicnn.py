"""Read the index of musicnn-training, which lists MagnaTagATune (``mtt``) and the Million Song Dataset (``msd``).

It is not a corpus of its own: mtat.py and msd.py use it.

Layout (Pons and Serra 2019, github.com/jordipons/musicnn-training, data/index): ``index_{name}.tsv`` with id and path,
``{train,val,test}_gt_{name}.tsv`` with id and a JSON list of 50 zeros and ones, and ``output_labels_{name}.txt``, whose
only statement assigns the 50 tag names in order. None has a header.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from genrescale.audio import SPLITS, Tag, Vocabulary
from genrescale.data.corpora.cells import one_of
from genrescale.data.corpora.reading import read_lines, read_rows
from genrescale.storage.json_bytes import read_json
from genrescale.storage.store import Store

_FILE_OF = {"train": "train", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Clip:
    path: str
    tags: tuple[str, ...]
    split: str


def index_name(name: str) -> str:
    return f"index_{name}.tsv"


def read_clips(store: Store, name: str, splits: Sequence[str]) -> tuple[dict[str, Clip], Vocabulary]:
    """Read the clips of ``splits`` by id, and the 50 tags in the index's order.

    Raises FileNotFoundError for a missing file, and ValueError, naming file and row, for an unusable row.
    """
    names = _tag_names(store, f"output_labels_{name}.txt")
    paths = _paths(store, index_name(name))
    clips = {}
    for split in splits:
        one_of("splits", split, SPLITS)
        file = f"{_FILE_OF[split]}_gt_{name}.tsv"
        others = [other for other in SPLITS if other != split]
        remedy = f"copy it there, or list other splits: +options.splits=[{','.join(others)}]"
        for i, row in enumerate(read_rows(store, file, remedy=remedy), 1):
            where = f"{store.uri}/{file}, row {i}"
            if row[0] not in paths:
                raise ValueError(f"{where}: id {row[0]!r} is not in {index_name(name)}")
            if row[0] in clips:
                raise ValueError(f"{where}: id {row[0]!r} has labels twice, here and in split {clips[row[0]].split}")
            clips[row[0]] = Clip(paths[row[0]], _carried(row, names, where), split)
    return clips, Vocabulary(tuple(Tag(tag) for tag in names))


def _paths(store: Store, file: str) -> dict[str, str]:
    paths = {}
    for i, row in enumerate(read_rows(store, file), 1):
        if len(row) != 2:
            raise ValueError(f"{store.uri}/{file}, row {i}: {len(row)} cells; expected an id and a path between tabs")
        paths[row[0]] = row[1]
    return paths


def _carried(row: Sequence[str], names: Sequence[str], where: str) -> tuple[str, ...]:
    try:
        values = read_json(row[1], where)
        if len(values) != len(names) or not set(values) <= {0, 1}:
            raise ValueError
    except (IndexError, TypeError, ValueError):
        raise ValueError(f"{where}: expected an id, a tab and a list of {len(names)} zeros and ones") from None
    return tuple(name for name, value in zip(names, values, strict=True) if value)


def _tag_names(store: Store, file: str) -> list[str]:
    """Read the list that the file assigns; the file is parsed, never executed."""
    remedy = "it names the tags; it lies beside the index in musicnn-training"
    _, assigned, value = "\n".join(read_lines(store, file, remedy)).partition("=")
    try:
        names = ast.literal_eval(value.strip())
    except (SyntaxError, ValueError, MemoryError, RecursionError):  # the last two: of lists of thousands of lists
        names = None
    if not assigned or not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{store.uri}/{file} does not assign a list of tag names; expected LABELS = ['rock', ...]")
    return names
