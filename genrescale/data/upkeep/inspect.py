"""Describe one shard or one song, and check its bytes against the manifest."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterable, Iterator

import numpy as np

from genrescale.audio import SAMPLE_BYTES, len_to_seconds
from genrescale.config.numbers import ceil_div
from genrescale.data.index import crc32, index_path, num_seconds
from genrescale.data.manifest import Manifest
from genrescale.data.quarantine import read_quarantine
from genrescale.data.sharding.scan import read_members
from genrescale.data.upkeep.verify import altered_seconds, fact_differences, verify_shard
from genrescale.data.upkeep.verify_features import features_line
from genrescale.storage.store import Store
from genrescale.telemetry.terminal import printable

_BLOCK = 512
_SHOWN = 3


def inspect(manifest: Manifest, name: str) -> Iterator[str]:
    """Yield lines about a shard (its path, or ``train-000003``) or a song (its key).

    For a song in quarantine, the reason is given. Raises ValueError, which names similar ones, if there is neither.
    """
    shards = manifest.shards["name"].to_pylist()
    path = f"shards/{name.removeprefix('shards/').removesuffix('.tar')}.tar"
    if path in shards:
        return map(printable, _shard_lines(manifest, shards.index(path)))
    rows = np.flatnonzero(manifest.column("key") == name)
    if len(rows):
        return map(printable, _song_lines(manifest, int(rows[0])))
    for song in read_quarantine(Store(manifest.uri)):
        if song.key == name:
            source = f", source: {song.path}" if song.path else ""
            return iter([printable(f"song {name} is in quarantine: {song.reason}{source}")])
    short = [shard.removeprefix("shards/").removesuffix(".tar") for shard in shards]
    similar = difflib.get_close_matches(name, [*short, *manifest.songs["key"].to_pylist()], _SHOWN, cutoff=0.5)
    hint = f"; similar: {', '.join(similar)}" if similar else f"; the first shard is {short[0]}" if short else ""
    raise ValueError(f"inspect={name} is neither a shard nor a song of {manifest.uri}{hint}")


def shows_problem(lines: Iterable[str]) -> bool:
    """Return whether lines of ``inspect`` report damage. Names of songs, labels and artists do not count."""
    return any(
        line.startswith(("not ok: ", "seconds: not ok: ")) or (line.startswith("crc32: ") and "not ok" in line)
        for line in lines
    )


def _labels_text(manifest: Manifest, row: int) -> str:
    labels = manifest.vocabulary.carried(manifest.labels_NK[row])
    return ", ".join(tag if value == 1 else f"{tag} {value:g}" for tag, value in labels.items()) or "none"


def _shard_lines(manifest: Manifest, shard: int) -> Iterator[str]:
    path, rows = manifest.shard_name(shard), manifest.shard_rows(shard)
    seconds = len_to_seconds(int(manifest.column("num_samples")[rows].sum()))
    num_bytes = manifest.shards["num_bytes"][shard].as_py()
    yield f"{path}: {manifest.shards['split'][shard].as_py()}, {len(rows)} songs, {seconds:,.1f} s, {num_bytes:,} bytes"
    yield f"sha256 {manifest.shards['sha256'][shard].as_py()}"
    problems = verify_shard(Store(manifest.uri), manifest, shard)
    yield from (f"not ok: {problem}" for problem in problems)
    if not problems:
        yield "ok: every byte of the shard and of its index is what was written"
    try:
        for key, reason in manifest.index(shard).quarantined.items():
            yield f"quarantined: {key}: {reason}"
    except (FileNotFoundError, ValueError):
        pass  # it was reported above
    yield "byte, seconds, song, labels:"
    for row in rows.tolist():
        offset, length = manifest.songs["offset"][row].as_py(), manifest.songs["num_samples"][row].as_py()
        key = manifest.songs["key"][row].as_py()
        yield f"{offset:>12} {len_to_seconds(length):>8.2f}  {key}  {_labels_text(manifest, row)}"


def _song_lines(manifest: Manifest, row: int) -> Iterator[str]:
    song = {name: manifest.songs[name][row].as_py() for name in manifest.songs.column_names}
    path, end = manifest.shard_name(song["shard"]), song["offset"] + song["num_samples"] * SAMPLE_BYTES
    yield f"song {song['key']}: {song['split']}, place {song['order']} of its nested order"
    if song["excluded"]:
        yield f"excluded from use: {song['excluded']}"
    yield f"labels: {_labels_text(manifest, row)}"
    yield f"artist: {song['artist'] or 'not known'}"
    yield f"source: {song['path']}"
    yield from features_line(manifest, song["key"])
    yield f"audio: {path}, bytes {song['offset']} to {end}, {len_to_seconds(song['num_samples']):.2f} s"
    store = Store(manifest.uri)
    if not store.exists(path):
        yield f"not ok: {path} is missing"
        return
    # the song's own members, from the end of the song before it, are a small tar
    before = _end_of_song_before(manifest, row)
    members = store.read_range(path, before, end - before)
    data = members[song["offset"] - before :]
    found = crc32(data)
    agrees = found == song["crc32"]
    yield f"crc32: {found:08x}, {'ok' if agrees else 'not ok: the manifest says ' + format(song['crc32'], '08x')}"
    yield _seconds_line(manifest, song["shard"], song["crc_start"], song["num_samples"], data)
    stored, refused = read_members(io.BytesIO(members), before)
    if refused:
        yield f"not ok: {refused}"
    differences = fact_differences(manifest, row, stored[0].facts if stored else None)
    yield from (f"not ok: {what}" for what in differences)
    if not differences:
        yield "json member: ok"


def _end_of_song_before(manifest: Manifest, row: int) -> int:
    """Return the byte at which the members of a song start in its shard."""
    rows = manifest.shard_rows(manifest.songs["shard"][row].as_py())
    place = int(np.flatnonzero(rows == row)[0])
    if not place:
        return 0
    end = manifest.column("offset")[rows[place - 1]] + manifest.column("num_samples")[rows[place - 1]] * SAMPLE_BYTES
    return ceil_div(int(end), _BLOCK) * _BLOCK


def _seconds_line(manifest: Manifest, shard: int, crc_start: int, num_samples: int, data: bytes) -> str:
    count = int(num_seconds(np.array(num_samples)))
    try:
        checksums = manifest.checksums(shard)[crc_start : crc_start + count]
    except (FileNotFoundError, ValueError):
        return f"seconds: not checked, {index_path(manifest.shard_name(shard))} cannot be read"
    if len(data) < num_samples * SAMPLE_BYTES:
        return f"not ok: the shard ends {num_samples * SAMPLE_BYTES - len(data)} bytes before the song does"
    wrong = altered_seconds(data, checksums)
    return f"seconds: not ok: {', '.join(map(str, wrong))} of {count}" if wrong else f"seconds: {count} ok"
