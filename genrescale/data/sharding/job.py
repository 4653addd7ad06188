"""Shard a whole corpus: plan, one Ray task per missing shard, quarantine, manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from genrescale.data.index import ShardIndex, index_from_bytes, index_path
from genrescale.data.manifest import DECODERS, MANIFEST_PATH, SONG_SCHEMA, Manifest, read_manifest, write_manifest
from genrescale.data.quarantine import QUARANTINE_PATH, Quarantined, write_quarantine
from genrescale.data.sharding.budget import Budget
from genrescale.data.sharding.duplicates import with_exclusions
from genrescale.data.sharding.errors import CorpusChangedError, FailureBudgetError
from genrescale.data.sharding.lengths import odd_lengths, read_odd_lengths, sentence, write_odd_lengths
from genrescale.data.sharding.plan import HELD_OUT, PLAN_PATH, ShardPlan
from genrescale.data.sharding.plan_file import note_decoders
from genrescale.data.sharding.rebuild import PlannedShard, planned_shards, rebuild_index
from genrescale.data.sharding.splits import ArtistOverlap
from genrescale.data.sharding.writer import ShardTask, write_shard
from genrescale.data.takedowns import read_takedowns
from genrescale.data.tasks import run_tasks
from genrescale.storage.lease import Lease, claim, writing
from genrescale.storage.names import is_part
from genrescale.storage.store import Store
from genrescale.telemetry.progress import Progress, Waiting

_READERS = 16
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class ShardingResult:
    """The result of a sharding job: ``written`` counts new shards, ``skipped`` those that were finished before.

    ``held_out`` counts added songs that are in no shard because their artists are in validation or test. ``overlap`` is
    the artist overlap of official splits, None if the splits are ours. ``rejected_rows`` counts the quarantined entries
    that are rows of a table without a song.
    """

    manifest: Manifest
    quarantined: list[Quarantined]
    written: int
    skipped: int
    held_out: int
    overlap: ArtistOverlap | None
    rejected_rows: int = 0

    @property
    def given(self) -> int:
        """The number of songs and rejected rows that the corpus listed: in shards, in quarantine or held out."""
        return len(self.manifest) + len(self.quarantined) + self.held_out

    def summary(self) -> str:
        """Describe in text what the job did."""
        manifest = self.manifest
        num_bytes = sum(manifest.shards["num_bytes"].to_pylist())
        excluded = sum(bool(reason) for reason in manifest.songs["excluded"].to_pylist())
        rows = f", {self.rejected_rows} of them rows of a table without a song" if self.rejected_rows else ""
        lines = [
            f"{self.given} songs given: {len(manifest)} in shards ({excluded} excluded as copies across splits), "
            f"{len(self.quarantined)} in quarantine, {self.held_out} held out",
            f"{len(manifest.shards)} shards, {num_bytes:,} bytes; {self.written} written now, {self.skipped} before",
            f"{len(self.quarantined)} songs in quarantine{rows}",
            *(f"  {song.path or song.key}: {song.reason}" for song in self.quarantined[:_SHOWN]),
        ]
        if self.held_out:
            lines.append(
                f"{self.held_out} added songs held out (listed in {PLAN_PATH}): their artists are in validation or test"
            )
        if self.overlap is not None:
            lines.append(f"official splits: {self.overlap.sentence()}")
        if odd := read_odd_lengths(manifest):
            lines.append(sentence(odd))
        if len(decoders := manifest.settings.get(DECODERS, ())) > 1:
            lines.append(f"several versions of the decoders made shards, which may differ: {'; '.join(decoders)}")
        return "\n".join(lines)


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
            plan = note_decoders(plan, out)
            _write_missing(missing, reasons, budget, len(finished))
            _remove_parts(out)  # left by tasks whose process died
    finally:
        lease.check()
        quarantined = _quarantined(plan, reasons, takedowns)
        write_quarantine(out, quarantined)
    with Waiting("shard_corpus", "writing the manifest"):
        manifest = _finished_manifest(plan, tasks, out, takedowns)
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
    return ShardingResult(manifest, quarantined, len(missing), len(finished), held_out, plan.overlap, num_rows)


def _finished_manifest(
    plan: ShardPlan, tasks: Sequence[ShardTask], out: Store, takedowns: Mapping[str, str]
) -> Manifest:
    """Build the manifest once all shards are written. Raises CorpusChangedError if another job wrote meanwhile."""
    indexes = read_indexes(out, tasks)
    if None in indexes:
        raise CorpusChangedError(
            f"{tasks[indexes.index(None)].name} in {out.uri} was changed while the job ran; run it again"
        )
    if read_takedowns(out) != takedowns:
        raise CorpusChangedError(f"songs of {out.uri} were taken down while the job ran; run it again")
    return _to_manifest(plan, tasks, [index for index in indexes if index is not None], out)


def _write_missing(missing: Sequence[ShardTask], reasons: dict[str, str], budget: Budget, num_finished: int) -> None:
    songs_of = {task.name: len(task.songs) for task in missing}
    with Progress("shard_corpus", sum(songs_of.values()), "songs") as progress:
        progress.note(f"{len(missing)} shards to write, {num_finished} finished before")
        for report in run_tasks(write_shard, missing, name="write_shard", partly=progress.partly):
            reasons.update(report.quarantined)
            broken = f", {len(reasons)} songs in quarantine" if reasons else ""
            progress.advance(songs_of[report.name], f"{report.name} written{broken}")
            budget.check(reasons)


def _recover_indexes(out: Store, tasks: Iterable[ShardTask]) -> None:
    """Rebuild lost indexes from tars that the manifest knows, because the encoded songs may no longer be available."""
    files = set(out.list("shards"))
    blind = [task.name for task in tasks if task.name in files and index_path(task.name) not in files]
    if not blind or not out.exists(MANIFEST_PATH):
        return
    manifest, planned = read_manifest(out.uri), planned_shards(out)
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
    """Delete partial files left by a killed job."""
    out.delete(*(path for path in out.list() if is_part(path)))


def _quarantined(plan: ShardPlan, reasons: Mapping[str, str], takedowns: Mapping[str, str]) -> list[Quarantined]:
    songs = [
        Quarantined(song.key, "", takedowns[song.key])
        if song.key in takedowns
        else Quarantined(song.key, song.path, reasons[song.key])
        for song in plan.songs
        if song.key in reasons or song.key in takedowns
    ]
    return songs + [row.quarantined(takedowns) for row in plan.rejected]


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
