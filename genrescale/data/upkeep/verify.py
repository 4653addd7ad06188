"""Compare shards with the manifest: what is missing, extra, cut off or altered, down to the second of a song."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from genrescale.audio import SAMPLE_BYTES
from genrescale.data.checksums import song_checksums
from genrescale.data.index import crc32, index_path, num_seconds, second_checksums
from genrescale.data.manifest import Manifest, content_version
from genrescale.data.quarantine import QUARANTINE_PATH, read_quarantine
from genrescale.data.sharding.duplicates import exclusions
from genrescale.data.sharding.plan import HELD_OUT, PLAN_PATH
from genrescale.data.sharding.plan_file import read_plan_file
from genrescale.data.sharding.rebuild import PlannedShard, planned_shards, rebuild_index
from genrescale.data.sharding.scan import StoredSong, scan_shard
from genrescale.storage.store import Store
from genrescale.telemetry.terminal import printable


class Remedy(Enum):
    """What solves a problem, in words."""

    INDEX = "recompute the indexes from their intact shards: the same command with rebuild=true"
    SHARD = "delete the shards named here, and run jobs/shard_corpus.py again with the settings it had"
    EXTRA = (
        "delete the extra files; nothing reads them (shards of an addition that was stopped: run jobs/shard_corpus.py "
        "again with the settings it had, and they are no longer extra)"
    )
    MANIFEST = "run jobs/shard_corpus.py again with the settings it had: it writes the manifest anew from the indexes"
    FEATURES = "delete the files of features named here: jobs/baselines.py, or the next sweep, makes them anew"
    DRIFT = (
        "shards and manifest are of different corpora: shard again, with the labels you mean, into a folder that holds "
        "nothing but takedowns.parquet (if there is one)"
    )


@dataclass(frozen=True)
class Problem:
    """A problem: ``where`` is a path below the corpus or a song, ``what`` describes the problem."""

    where: str
    what: str
    remedy: Remedy

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.what}")


def remedies(problems: Iterable[Problem]) -> list[str]:
    """Return what solves the problems, each remedy once."""
    found = {problem.remedy for problem in problems}
    return [remedy.value for remedy in Remedy if remedy in found]


def sample_shards(num_shards: int, sample: int, seed: int) -> list[int]:
    """Return the rows of ``sample`` random shards in ascending order (0 or too many: all). Raises ValueError if < 0."""
    if sample < 0:
        raise ValueError(f"sample={sample} must be a number of shards, or 0 for all of them")
    if not 0 < sample < num_shards:
        return list(range(num_shards))
    return sorted(np.random.default_rng(seed).choice(num_shards, sample, replace=False).tolist())


def verify_manifest(manifest: Manifest) -> list[Problem]:
    """Return the problems of the manifest itself and of the list of files. Reads no shard."""
    problems = []
    version = content_version(manifest.songs, manifest.labels_NK, manifest.vocabulary)
    if version != manifest.version:
        problems.append(("the manifest", f"it says version {manifest.version}, its content is {version}"))
    if len(set(manifest.songs["key"].to_pylist())) != len(manifest):
        problems.append(("the manifest", "it holds a key more than once"))
    counts = np.bincount(manifest.column("shard"), minlength=manifest.shards.num_rows)
    for shard, num_songs in enumerate(manifest.shards["num_songs"].to_pylist()):
        if counts[shard] != num_songs:
            problems.append((manifest.shard_name(shard), f"{counts[shard]} songs in the manifest, not {num_songs}"))
    problems += _uncounted(manifest)
    if manifest.checksums_file:
        try:
            song_checksums(manifest, np.arange(0))
        except ValueError as error:
            problems.append((manifest.checksums_file[0], str(error)))
    shards = set(manifest.shards["name"].to_pylist())
    indexes = {index_path(name) for name in shards}
    found = set(Store(manifest.uri).list("shards"))
    return [
        *(Problem(where, what, Remedy.MANIFEST) for where, what in problems),
        *(Problem(path, "missing", Remedy.SHARD) for path in sorted(shards - found)),
        *(Problem(path, "missing", Remedy.INDEX) for path in sorted(indexes - found)),
        *(Problem(path, "extra, not in the manifest", Remedy.EXTRA) for path in sorted(found - shards - indexes)),
    ]


def _uncounted(manifest: Manifest) -> list[tuple[str, str]]:
    """Return a problem if planned songs are neither in the manifest nor in the quarantine."""
    store = Store(manifest.uri)
    if not store.exists(QUARANTINE_PATH):
        return [(QUARANTINE_PATH, "missing")]
    if not store.exists(PLAN_PATH):
        return []
    plan = read_plan_file(store).table
    planned = zip(plan["key"].to_pylist(), plan["split"].to_pylist(), strict=True)
    known = {*manifest.songs["key"].to_pylist(), *(song.key for song in read_quarantine(store))}
    lost = [key for key, split in planned if split != HELD_OUT and key not in known]
    if not lost:
        return []
    return [("the manifest", f"{len(lost)} planned songs are neither in it nor in quarantine, the first is {lost[0]}")]


def verify_exclusions(manifest: Manifest) -> list[Problem]:
    """Return the songs that the manifest should exclude, because another split has their audio, or should not."""
    found = zip(*(manifest.songs[name].to_pylist() for name in ("key", "excluded")), exclusions(manifest), strict=True)
    return [
        Problem(
            "the manifest", f"song {key} is {_excluded(there)}; by its audio it is {_excluded(due)}", Remedy.MANIFEST
        )
        for key, there, due in found
        if there != due
    ]


def _excluded(reason: str) -> str:
    return f"excluded ({reason})" if reason else "not excluded"


def verify_shard(store: Store, manifest: Manifest, shard: int, deep: bool = True) -> list[Problem]:
    """Return the problems of one shard and its index; none if both are as they were written.

    ``deep`` reads every byte: it names altered songs and seconds, and compares the .json members with the manifest.
    Otherwise only the size and the index are checked.
    """
    path, num_bytes = manifest.shard_name(shard), manifest.shards["num_bytes"][shard].as_py()
    problems, checksums = [], None
    try:
        checksums = manifest.checksums(shard)
    except FileNotFoundError:
        problems.append(Problem(index_path(path), "missing", Remedy.INDEX))
    except ValueError as error:
        problems.append(Problem(index_path(path), str(error), Remedy.INDEX))
    if not store.exists(path):
        return [*problems, Problem(path, "missing", Remedy.SHARD)]
    size = store.size(path)
    if size != num_bytes:
        word = "truncated" if size < num_bytes else "too long"
        problems.append(Problem(path, f"{word}, {size} bytes instead of {num_bytes}", Remedy.SHARD))
    if not deep:
        return problems
    scan = scan_shard(store, path)
    problems += [Problem(path, scan.refused, Remedy.SHARD)] if scan.refused else []
    if scan.sha256 == manifest.shards["sha256"][shard].as_py():
        return problems + [Problem(path, what, Remedy.DRIFT) for what in drift(manifest, shard, scan.songs)]
    altered = _altered_songs(store, manifest, shard, checksums)
    altered += _altered_facts(manifest, shard, scan.songs)
    altered = altered or ["SHA-256 differs, outside of the audio (a tar header or a .json member)"]
    return problems + [Problem(path, what, Remedy.SHARD) for what in altered]


def altered_seconds(data: bytes, checksums: np.ndarray) -> list[int]:
    """Return the seconds of a song's PCM that do not match their checksums."""
    return np.flatnonzero(second_checksums(data) != checksums).tolist()


def _altered_songs(store: Store, manifest: Manifest, shard: int, checksums: np.ndarray | None) -> list[str]:
    path, found = manifest.shard_name(shard), []
    rows = manifest.shard_rows(shard)
    columns = [manifest.column(name)[rows].tolist() for name in ("key", "offset", "num_samples", "crc32", "crc_start")]
    for key, offset, num_samples, known_crc32, crc_start in zip(*columns, strict=True):
        data = store.read_range(path, offset, num_samples * SAMPLE_BYTES)
        if len(data) < num_samples * SAMPLE_BYTES:
            found.append(f"song {key} is cut off, {len(data)} of {num_samples * SAMPLE_BYTES} bytes")
        elif crc32(data) != known_crc32:
            where = ""
            if checksums is not None:
                expected = checksums[crc_start : crc_start + int(num_seconds(np.array(num_samples)))]
                where = f" at second {', '.join(map(str, altered_seconds(data, expected)[:5]))}"
            found.append(f"song {key} is altered{where}")
    return found


def facts_of(manifest: Manifest, row: int) -> dict[str, Any]:
    """Return what the .json member of a song should contain, without its labels."""
    return {name: manifest.songs[name][row].as_py() for name in ("key", "artist", "split", "num_samples")}


def drift(manifest: Manifest, shard: int, songs: Iterable[StoredSong]) -> list[str]:
    """Return how an intact shard differs from the manifest: in songs, their place, labels, artist or split."""
    row_of = {manifest.songs["key"][row].as_py(): row for row in manifest.shard_rows(shard).tolist()}
    stored = {song.key: song for song in songs}
    found = [f"song {key} is in the manifest, not in the shard" for key in row_of.keys() - stored.keys()]
    found += [f"song {key} is in the shard, not in the manifest" for key in stored.keys() - row_of.keys()]
    for key, row in row_of.items():
        if key not in stored:
            continue
        if stored[key].offset != (offset := manifest.songs["offset"][row].as_py()):
            found.append(f"song {key} lies at byte {stored[key].offset}, in the manifest at {offset}")
        found += [f"song {key}: {what}" for what in fact_differences(manifest, row, stored[key].facts)]
    return sorted(found)


def _altered_facts(manifest: Manifest, shard: int, songs: Iterable[StoredSong]) -> list[str]:
    """Return the .json members of a damaged shard that differ from the manifest, of songs that are in their place."""
    row_of = {manifest.songs["offset"][row].as_py(): row for row in manifest.shard_rows(shard).tolist()}
    found = []
    for song in songs:
        if (row := row_of.get(song.offset)) is not None:
            key = manifest.songs["key"][row].as_py()
            found += [f"song {key}: {what}" for what in fact_differences(manifest, row, song.facts)]
    return found


def fact_differences(manifest: Manifest, row: int, facts: dict[str, Any] | None) -> list[str]:
    """Return how a song's .json member differs from the manifest, in words."""
    if facts is None:
        return ["its .json member cannot be read"]
    found = [
        f"{name} is {facts.get(name)!r} in its .json member, {value!r} in the manifest"
        for name, value in facts_of(manifest, row).items()
        if facts.get(name) != value
    ]
    vocabulary, labels = manifest.vocabulary, facts.get("labels")
    try:
        same = np.array_equal(vocabulary.encode(labels or {}), manifest.labels_NK[row])
    except (ValueError, TypeError, AttributeError):  # unknown tags, or values that are not numbers
        same = False
    if not same:
        known = vocabulary.carried(manifest.labels_NK[row])
        said = {tag: value for tag, value in labels.items() if value} if isinstance(labels, dict) else labels
        found.append(f"labels are {said} in its .json member, {known} in the manifest")
    return found


@dataclass(frozen=True)
class ShardCheck:
    """A shard (its row) to be checked; ``alone`` is the manifest of that shard only.

    A bad index is rebuilt from ``rebuild`` unless that is None.
    """

    shard: int
    alone: Manifest
    deep: bool
    rebuild: PlannedShard | None = None


def shard_checks(manifest: Manifest, shards: Iterable[int], deep: bool, rebuild: bool) -> Iterator[ShardCheck]:
    """Yield the checks of ``shards`` (rows). The plan is read once for all."""
    planned = planned_shards(manifest) if rebuild else {}
    for shard in shards:
        of_plan = planned.get(manifest.shard_name(shard), PlannedShard()) if rebuild else None
        yield ShardCheck(shard, manifest.only_shard(shard), deep, of_plan)


@dataclass(frozen=True)
class CheckedShard:
    """The result of a check. ``index_sha256`` is that of a rebuilt index, else ""."""

    shard: int
    problems: list[Problem]
    index_sha256: str = ""


def check_shard(check: ShardCheck) -> CheckedShard:
    """Run ``verify_shard``; with ``rebuild``, recompute a missing or damaged index if the tar is intact."""
    store = Store(check.alone.uri)
    problems = verify_shard(store, check.alone, 0, check.deep)
    of_index = [problem for problem in problems if problem.remedy is Remedy.INDEX]
    if check.rebuild is None or not of_index:
        return CheckedShard(check.shard, problems)
    try:
        sha256 = rebuild_index(store, check.alone, 0, check.rebuild)
    except ValueError as error:
        return CheckedShard(check.shard, [*problems, Problem(check.alone.shard_name(0), str(error), Remedy.SHARD)])
    return CheckedShard(check.shard, [problem for problem in problems if problem not in of_index], sha256)
