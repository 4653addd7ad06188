"""Shard a whole corpus: plan, one Ray task per missing shard, quarantine, manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import numpy as np
import pyarrow as pa

from genrescale.addresses import scrubbed
from genrescale.data.index import ShardIndex, index_from_bytes, index_path
from genrescale.data.manifest import DECODERS, MANIFEST_PATH, SONG_SCHEMA, Manifest, read_manifest, write_manifest
from genrescale.data.quarantine import QUARANTINE_PATH, Quarantined, common_reasons, write_quarantine
from genrescale.data.sharding.budget import Budget, failure_limit
from genrescale.data.sharding.census import take_census
from genrescale.data.sharding.duplicates import with_exclusions
from genrescale.data.sharding.errors import CorpusChangedError, FailureBudgetError
from genrescale.data.sharding.lengths import odd_lengths, write_odd_lengths
from genrescale.data.sharding.plan import HELD_OUT, ShardPlan
from genrescale.data.sharding.plan_file import note_decoders
from genrescale.data.sharding.rebuild import PlannedShard, planned_shards, rebuild_index
from genrescale.data.sharding.related import related_lines
from genrescale.data.sharding.result import ShardingResult
from genrescale.data.sharding.writer import ShardTask, write_shard
from genrescale.data.takedowns import read_takedowns
from genrescale.data.tasks import run_tasks
from genrescale.display.text import count_text
from genrescale.storage.lease import LEASE_PATH, Lease, claim, writing
from genrescale.storage.names import is_part
from genrescale.storage.store import Store
from genrescale.telemetry.progress import Progress, Waiting
from genrescale.telemetry.recorder import recorder
from genrescale.telemetry.stages import shards_done, songs_done, stage_begins
from genrescale.telemetry.terminal import say

_READERS = 16


def write_corpus(plan: ShardPlan, out: Store, retry_quarantined: bool = False) -> ShardingResult:
    """Write the plan's missing shards to ``out``, as Ray tasks, then the manifest.

    ``retry_quarantined`` rewrites the shards with quarantined songs (other than those that were taken down). Raises
    FailureBudgetError, after writing the quarantine, if too many songs fail, BusyError if another job writes to
    ``out``, and LeaseLostError if another job has taken over since.
    """
    with writing(out, "shard_corpus") as lease:
        return _write_corpus(plan, out, retry_quarantined, lease)


def _write_corpus(plan: ShardPlan, out: Store, retry_quarantined: bool, lease: Lease) -> ShardingResult:
    with Waiting("shard_corpus", "looking for finished shards"):
        _remove_parts(out)
        takedowns = read_takedowns(out)
        tasks, budget = shard_tasks(plan, out, takedowns), Budget(plan, takedowns)
        _recover_indexes(out, tasks)
        indexes = read_indexes(out, tasks)
    finished = {
        task.name: index
        for task, index in zip(tasks, indexes, strict=True)
        if index is not None and not (retry_quarantined and index.quarantined.keys() - takedowns.keys())
    }
    missing = [task for task in tasks if task.name not in finished]
    reasons = {key: reason for index in finished.values() for key, reason in index.quarantined.items()}
    try:
        budget.check(reasons)
        if missing:
            _foresee(missing, plan.settings.min_s, reasons, budget)
            plan = note_decoders(plan, out)
            tell = partial(_tell_quarantine, plan, takedowns)
            _write_missing(missing, reasons, budget, len(finished), tell)
            _remove_parts(out)  # left by tasks whose process died
    finally:
        lease.check()
        quarantined = _quarantined(plan, reasons, takedowns)
        _tell_quarantine(plan, takedowns, reasons)
        write_quarantine(out, quarantined)
    with Waiting("shard_corpus", "writing the manifest"):
        manifest, noted = _finished_manifest(plan, tasks, out, takedowns)
    held_out = sum(
        split == HELD_OUT and song.key not in takedowns for song, split in zip(plan.songs, plan.split, strict=True)
    )
    given = len(plan.songs) + len(plan.rejected)
    if given != len(manifest) + len(quarantined) + held_out:
        raise AssertionError(
            f"{given} songs were given, but {len(manifest)} are in the shards of {out.uri}, {len(quarantined)} in "
            f"quarantine and {held_out} held out: this is a bug in genrescale, please report it"
        )
    num_rows = len(plan.rejected)
    written, before = len(missing), len(finished)
    warnings = related_lines(plan)
    return ShardingResult(manifest, quarantined, written, before, held_out, plan.overlap, num_rows, noted, warnings)


def _foresee(missing: Sequence[ShardTask], min_s: float, reasons: dict[str, str], budget: Budget) -> None:
    """Raise FailureBudgetError, before anything is decoded, if headers tell that too many songs are too short."""
    with Waiting("shard_corpus", "reading the songs' headers"):
        census = take_census([song for task in missing for song in task.songs if song.key not in task.taken_down])
    if told := census.sentence(min_s):
        say(f"note: {told}")
    try:
        budget.check(reasons | census.short(min_s))
    except FailureBudgetError:
        reasons |= census.short(min_s)  # for the quarantine
        raise


def _finished_manifest(
    plan: ShardPlan, tasks: Sequence[ShardTask], out: Store, takedowns: Mapping[str, str]
) -> tuple[Manifest, dict[str, list[str]]]:
    """Build the manifest once all shards are written, and list the songs with a note on each by the note.

    Raises CorpusChangedError if another job wrote meanwhile.
    """
    indexes = read_indexes(out, tasks)
    if None in indexes:
        raise CorpusChangedError(
            f"{tasks[indexes.index(None)].name} in {out.uri} was changed while the job ran; run it again"
        )
    if read_takedowns(out) != takedowns:
        raise CorpusChangedError(f"songs of {out.uri} were taken down while the job ran; run it again")
    known = [index for index in indexes if index is not None]
    notes_of = {key: notes for index in known for key, notes in index.notes.items()}
    noted: dict[str, list[str]] = {}
    for song in plan.songs:
        for note in notes_of.get(song.key, ()):
            noted.setdefault(note, []).append(song.path)
    return _to_manifest(plan, tasks, known, out), noted


def _write_missing(
    missing: Sequence[ShardTask],
    reasons: dict[str, str],
    budget: Budget,
    num_finished: int,
    tell: Callable[[Mapping[str, str]], None],
) -> None:
    """Write shards, add the songs that failed to ``reasons``, and ``tell`` those so far after each shard."""
    songs_of = {task.name: len(task.songs) for task in missing}
    stage_begins("shard_corpus", sum(songs_of.values()))
    with Progress("shard_corpus", sum(songs_of.values()), "songs") as progress:
        progress.note(f"{len(missing)} shards to write, {num_finished} finished before")
        for report in run_tasks(write_shard, missing, name="write_shard", partly=progress.partly):
            reasons.update(report.quarantined)
            songs_done("shard_corpus", report.num_songs, len(report.quarantined))
            shards_done("shard_corpus", 1)
            tell(reasons)
            broken = f", {count_text(len(reasons), 'song')} in quarantine" if reasons else ""
            progress.advance(songs_of[report.name], f"{report.name} written{broken}")
            budget.check(reasons)


def _recover_indexes(out: Store, tasks: Iterable[ShardTask]) -> None:
    """Rebuild lost indexes from tars that the manifest knows, because the encoded songs may no longer be available."""
    files = set(out.list("shards"))
    blind = [task.name for task in tasks if task.name in files and index_path(task.name) not in files]
    if not blind or not out.exists(MANIFEST_PATH):
        return
    manifest = read_manifest(out.uri)
    planned = planned_shards(manifest)
    row_of = {name: shard for shard, name in enumerate(manifest.shards["name"].to_pylist())}
    for name in blind:
        if name in row_of:
            with suppress(ValueError):  # not the manifest's tar: its songs are decoded again
                rebuild_index(out, manifest, row_of[name], planned.get(name, PlannedShard()))


def shard_tasks(plan: ShardPlan, out: Store, takedowns: Mapping[str, str]) -> list[ShardTask]:
    """Make one task for each shard of the plan. ``takedowns`` (key -> reason) must not be in any shard."""
    claimed = claim(out)
    return [
        ShardTask(
            store=out,
            name=name,
            split=split,
            first_order=int(plan.order[rows.start]),
            songs=plan.songs[rows],
            labels_nK=plan.labels_NK[rows],
            vocabulary=plan.vocabulary,
            plan_digest=plan.digest(rows),
            settings=plan.settings,
            earlier_digests=plan.earlier_digests(rows),
            taken_down={song.key: takedowns[song.key] for song in plan.songs[rows] if song.key in takedowns},
            claim=claimed,
        )
        for name, split, rows in plan.shards()
    ]


def read_indexes(out: Store, tasks: Iterable[ShardTask]) -> list[ShardIndex | None]:
    """Read the index of each task's finished shard; None if the shard has to be written."""
    files = set(out.list("shards"))

    def read(task: ShardTask) -> ShardIndex | None:
        path = index_path(task.name)
        if task.name not in files or path not in files:
            return None
        try:
            index = index_from_bytes(out.read_bytes(path))
        except ValueError:
            return None
        is_whole = index.plan_digest == task.plan_digest and out.size(task.name) == index.num_bytes
        return index if is_whole and task.taken_down.keys().isdisjoint(index.keys) else None

    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(read, tasks))


def _remove_parts(out: Store) -> None:
    """Delete partial files left by a killed job; not those of the lease, which this job renews at the same time."""
    for path in out.list():
        if is_part(path) and not path.startswith(f".{LEASE_PATH}."):
            with suppress(FileNotFoundError):
                out.delete(path)


def _quarantined(plan: ShardPlan, reasons: Mapping[str, str], takedowns: Mapping[str, str]) -> list[Quarantined]:
    songs = [
        Quarantined(song.key, "", takedowns[song.key])
        if song.key in takedowns
        else Quarantined(song.key, song.path, reasons[song.key])
        for song in plan.songs
        if song.key in reasons or song.key in takedowns
    ]
    return songs + [row.quarantined(takedowns) for row in plan.rejected]


def _tell_quarantine(plan: ShardPlan, takedowns: Mapping[str, str], reasons: Mapping[str, str]) -> None:
    """Tell the songs in quarantine by reason; those that were taken down are none of the failures."""
    if not recorder():
        return
    failed = [scrubbed(song.reason) for song in _quarantined(plan, reasons, takedowns) if song.path]
    for reason, count in common_reasons(failed).items():
        recorder().set("genrescale_quarantined_songs", count, reason=reason)
    limit = failure_limit(plan.settings, len(plan.songs) + len(plan.rejected))
    recorder().set("genrescale_quarantine_limit_songs", limit)


def _to_manifest(plan: ShardPlan, tasks: Sequence[ShardTask], indexes: Sequence[ShardIndex], out: Store) -> Manifest:
    """Build the manifest from the plan and the indexes only; which runs wrote the shards does not matter."""
    starts = [rows.start - task.first_order for task, (_, _, rows) in zip(tasks, plan.shards(), strict=True)]
    rows = np.concatenate([start + index.order for start, index in zip(starts, indexes, strict=True)])
    if not any(plan.split[row] == "train" for row in rows):
        raise FailureBudgetError(f"no train song survived; the reasons are in {out.uri}/{QUARANTINE_PATH}")
    kept = [plan.songs[row] for row in rows]
    num_songs = [len(index.keys) for index in indexes]
    columns = {
        "key": pa.array([song.key for song in kept], pa.string()),
        "artist": pa.array([song.artist for song in kept], pa.string()),
        "split": pa.array([plan.split[row] for row in rows], pa.string()),
        "order": pa.array(plan.order[rows]),
        "shard": pa.array(np.repeat(np.arange(len(tasks), dtype=np.int32), num_songs)),
    }
    for name in ("offset", "num_samples", "crc32", "crc_start"):
        columns[name] = pa.array(np.concatenate([getattr(index, name) for index in indexes]))
    columns["path"] = pa.array([song.path for song in kept], pa.string())
    shards = {
        "name": [task.name for task in tasks],
        "split": [task.split for task in tasks],
        "num_songs": num_songs,
        "num_bytes": [index.num_bytes for index in indexes],
        "sha256": [index.sha256 for index in indexes],
        "index_sha256": [index.file_sha256 for index in indexes],
    }
    columns["excluded"] = pa.array([""] * len(rows))
    songs = pa.table(columns).cast(SONG_SCHEMA)
    settings = {**plan.settings.of_plan(), **({DECODERS: [*plan.decoders]} if plan.decoders else {})}
    manifest = Manifest(out.uri, "", plan.vocabulary, songs, plan.labels_NK[rows], pa.table(shards), settings)
    songs = with_exclusions(manifest).songs
    write_odd_lengths(out, odd_lengths(plan.songs, manifest))
    checksums = np.concatenate([index.checksums for index in indexes])
    return write_manifest(out, songs, manifest.labels_NK, manifest.shards, plan.vocabulary, settings, checksums)
