"""``manifest.json``: what a corpus is and which tables it has, checked before any file that it names is opened.

Anybody who can write to a bucket or a shared folder can write a manifest. So a manifest may name only files of its own
corpus, by the names that genrescale gives, and the places of its songs must lie inside their shards.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from genrescale.audio import SAMPLE_BYTES, SAMPLE_RATE, SPLITS, Vocabulary
from genrescale.storage.json_bytes import JSON_BYTES, read_object
from genrescale.storage.names import CHECKSUMS_PATH, SHARD_NAME, SHARDS_PATH, SONGS_PATH, VERSION
from genrescale.storage.parquet import complete, table_of
from genrescale.storage.places import local_root
from genrescale.storage.store import Store

MANIFEST_PATH = "manifest.json"
PARTS = "parts"  # of the settings: the corpora of a mix
_SHA256 = re.compile("[0-9a-f]{64}")
_KEY = "^[A-Za-z0-9_-]+$"
_MAX_SAMPLES = 3 * 3600 * SAMPLE_RATE  # of a song; sharding refuses songs of more than two hours
_MAX_BYTES = 1 << 50  # of a shard

File = tuple[str, str]
"""The path of a file below the corpus, and its SHA-256."""


@dataclass(frozen=True)
class Summary:
    """The content of ``manifest.json``. ``checksums`` is None in corpora without such a file, which are older."""

    version: str
    vocabulary: Vocabulary
    settings: dict[str, Any]
    num_songs: int
    songs: File
    shards: File
    checksums: File | None


def read_summary(store: Store) -> Summary:
    """Read ``manifest.json``. Raises FileNotFoundError if there is none, ValueError if it names other files."""
    where = f"{store.uri}/{MANIFEST_PATH}"
    if not store.exists(MANIFEST_PATH):
        raise FileNotFoundError(
            f"{store.uri} holds no {MANIFEST_PATH}, so it is not a finished corpus; "
            f"make it with jobs/shard_corpus.py corpus=... audio=... out={store.uri}"
        )
    content = read_object(store.read_bytes(MANIFEST_PATH, JSON_BYTES), where)
    try:
        summary = Summary(
            version=_matching(content["version"], VERSION, "version"),
            vocabulary=Vocabulary.from_fields(content["vocabulary"]),
            settings=dict(content["settings"]),
            num_songs=int(content["num_songs"]),
            songs=_file(content["tables"], SONGS_PATH),
            shards=_file(content["tables"], SHARDS_PATH),
            checksums=_file(found, CHECKSUMS_PATH) if (found := content.get("checksums")) else None,
        )
        _check_parts(store, summary.settings)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where} is not a manifest that this version reads ({error!r})") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return summary


def _matching(text: Any, pattern: re.Pattern[str], what: str) -> str:
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise ValueError(f"{what} {str(text)[:100]!r} is not one that genrescale writes")
    return text


def _file(files: dict[str, str], pattern: re.Pattern[str]) -> File:
    """Return the one of ``files`` (path -> SHA-256) whose path matches the pattern."""
    found = [path for path in files if pattern.fullmatch(path)]
    if len(found) != 1:
        raise ValueError(f"the files {str(sorted(files))[:200]} are not those that genrescale writes")
    return found[0], _matching(files[found[0]], _SHA256, "the SHA-256")


def _check_parts(store: Store, settings: dict[str, Any]) -> None:
    if PARTS not in settings:
        return
    firsts = [part["first_shard"] for part in settings[PARTS]]
    if firsts[:1] != [0] or not all(type(first) is int for first in firsts) or sorted(set(firsts)) != firsts:
        raise ValueError("its parts do not start with shard 0")
    for part in settings[PARTS]:
        check_part(store, part["uri"])


def check_part(mix: Store, uri: str) -> None:
    """Raise ValueError if a mix may not name the corpus ``uri``. A mix in a bucket may not name a local folder."""
    if not isinstance(uri, str) or Store(uri).uri != uri:
        raise ValueError(f"its part {uri!r} is not a whole address")
    if local_root(mix.uri) is None and _scheme(mix.uri) != _scheme(uri):
        raise ValueError(
            f"{mix.uri} cannot mix {uri}, which is in another kind of store; put the mix into a local folder"
        )


def _scheme(uri: str) -> str:
    return "file" if local_root(uri) is not None else uri.partition("://")[0]


@contextmanager
def named(store: Store, file: File) -> Iterator[None]:
    """Name a file in the ValueErrors of the block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{store.uri}/{file[0]}: {error}") from None


def read_listed(store: Store, file: File, schema: pa.Schema) -> pa.Table:
    """Read a table that ``manifest.json`` lists. Raises ValueError if it is missing, damaged or no such table."""
    path, sha256 = file
    if not store.exists(path):
        raise ValueError(f"{store.uri}/{path} is missing; {MANIFEST_PATH} names it")
    data = store.read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{store.uri}/{path} is damaged: its SHA-256 is not that of {MANIFEST_PATH}")
    return table_of(data, f"{store.uri}/{path}", complete(schema)).cast(schema)


def check_shards(settings: dict[str, Any], shards: pa.Table) -> None:
    """Raise ValueError if a shard does not have a name that genrescale gives or, in a mix, is not in its part."""
    parts = settings.get(PARTS, [{"uri": "", "first_shard": 0}])
    bounds = [*(part["first_shard"] for part in parts), shards.num_rows]
    names = shards["name"].to_pylist()
    for part, first, end in zip(parts, bounds, bounds[1:], strict=False):
        root = f"{part['uri'].rstrip('/')}/" if part["uri"] else ""
        for name in names[first:end]:
            if not name.startswith(root) or not SHARD_NAME.fullmatch(name.removeprefix(root)):
                raise ValueError(f"the shard {name[:200]!r} does not have a name that genrescale gives")
    _require(_within(shards["num_bytes"], _MAX_BYTES), "a shard's size")
    _require([split in SPLITS for split in shards["split"].to_pylist()], "a shard's split")


def check_songs(songs: pa.Table, labels_NK: np.ndarray, shards: pa.Table) -> None:
    """Raise ValueError if a song has an impossible key or label, or lies outside its shard."""
    _require(pc.call_function("match_substring_regex", [songs["key"]], pc.MatchSubstringOptions(_KEY)), "a song's key")
    for name, limit in (("shard", shards.num_rows - 1), ("num_samples", _MAX_SAMPLES), ("offset", _MAX_BYTES)):
        _require(_within(songs[name], limit), f"a song's {name}")
    _require(_within(songs["crc_start"], _MAX_BYTES), "a song's crc_start")
    ends_N = songs["offset"].to_numpy() + songs["num_samples"].to_numpy() * SAMPLE_BYTES
    _require(ends_N <= shards["num_bytes"].to_numpy()[songs["shard"].to_numpy()], "a song's end")
    _require((labels_NK >= 0) & (labels_NK <= 1), "a label")


def _within(column: pa.ChunkedArray, limit: int) -> np.ndarray:
    values_N = column.to_numpy()
    return (values_N >= 0) & (values_N <= limit)


def _require(valid: Sequence[bool] | np.ndarray | pa.ChunkedArray, what: str) -> None:
    if not np.all(valid):
        raise ValueError(f"{what} is not one that genrescale writes")
