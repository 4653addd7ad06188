"""Store the plan beside the shards (``plan.parquet``), and continue, extend or refuse a corpus that was begun."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from genrescale.audio import SAMPLE_BYTES, Song, Vocabulary, earlier_key
from genrescale.config.corpus import SHARD_MB, ShardSettings
from genrescale.data.decoding.decoders import DecodeError, decoder_versions
from genrescale.data.quarantine import Rejected, read_quarantine, write_quarantine
from genrescale.data.sharding.budget import Budget
from genrescale.data.sharding.errors import FailureBudgetError
from genrescale.data.sharding.plan import PLAN_PATH, ShardPlan, arranged, checked, extend_plan, make_plan
from genrescale.data.sharding.writer import decode_song
from genrescale.data.takedowns import read_takedowns
from genrescale.storage.errors import StoreError
from genrescale.storage.json_bytes import read_object
from genrescale.storage.lease import writing
from genrescale.storage.parquet import ParquetTable, table_bytes
from genrescale.storage.store import Store

_META = b"genrescale"
_REJECTED, _DECODERS, _EARLIER = "rejected", "decoders", "earlier_min_s"
_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("key", "artist")),
        pa.field("official", pa.string()),
        pa.field("split", pa.string(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("order", "generation")),
    ]
)
_SAMPLED = 8
_COMPARED = 50_000


def fix_plan(
    songs: Sequence[Song],
    vocabulary: Vocabulary,
    settings: ShardSettings,
    out: Store,
    append: bool = False,
    rejected: Sequence[Rejected] = (),
) -> ShardPlan:
    """Return the plan that ``out`` was begun with, or make a new one and write it there.

    A begun plan is kept unchanged, even if another machine or version would break ties differently. With ``append``,
    songs that it does not have become its next generation. ``min_s`` may be another one, since no order depends on it.
    Songs that were taken down need not be listed any more. ``rejected`` are the rejected rows of the listing, each
    recorded with the addition that it came with.

    Raises ValueError, saying what changed, if songs, labels or settings differ from the begun plan. Raises
    FailureBudgetError, after writing the quarantine but no plan, if too many rows were rejected. Raises BusyError if
    another job writes to ``out``.
    """
    with writing(out, "shard_corpus"):
        return _fix_plan(songs, vocabulary, settings, out, append, rejected)


def _fix_plan(
    songs: Sequence[Song],
    vocabulary: Vocabulary,
    settings: ShardSettings,
    out: Store,
    append: bool,
    rejected: Sequence[Rejected],
) -> ShardPlan:
    if not out.exists(PLAN_PATH):
        if out.list("shards"):
            raise ValueError(f"{out.uri} holds shards but no {PLAN_PATH}; choose an empty folder for out")
        if not songs:
            raise ValueError("the corpus has no songs")
        if append:
            raise ValueError(f"{out.uri} holds no corpus to add songs to; start one without append=true")
        plan = make_plan(songs, vocabulary, _sized(settings, songs))
        return _written(replace(plan, rejected=tuple(rejected), decoders=(decoder_versions(),)), out)
    plan_file = read_plan_file(out)
    table, begun, begun_settings = plan_file.table, plan_file.vocabulary, plan_file.settings
    settings = replace(settings, songs_per_shard=settings.songs_per_shard or begun_settings["songs_per_shard"])
    row_of = {key: i for i, key in enumerate(table["key"].to_pylist())}
    songs = [_with_begun_key(song, row_of) for song in songs]
    taken_down = _taken_down(table, {song.key for song in songs}, read_takedowns(out), begun)
    if taken_down and set(vocabulary.tags) <= set(begun.tags):
        vocabulary = begun  # of tags that only they had, the songs that are listed say nothing
    if vocabulary == begun:
        songs = [*songs, *taken_down]
    added = [song for song in songs if song.key not in row_of] if append else []
    listed, labels_NK = checked([song for song in songs if song.key in row_of] if added else songs, vocabulary)
    changes = _changes(table, begun_settings, begun, row_of, listed, labels_NK, vocabulary, settings)
    was = float(begun_settings.get("min_s", settings.min_s))
    if changes:
        remedy = "" if append else "add songs with append=true, "
        raise ValueError(
            f"{out.uri} was begun with another plan: {'; '.join(changes)}.{_first(rejected)} Restore it, {remedy}"
            f"remove songs with jobs/take_down.py, choose another folder for out, or delete {out.uri} to start over"
        )
    rows = np.array([row_of[song.key] for song in listed])
    split_N, place, generation = (table[name].to_numpy()[rows] for name in ("split", "order", "generation"))
    plan = arranged(listed, labels_NK, split_N, place, generation, vocabulary, settings)
    _refuse_divided(plan, out)
    if added:
        plan = extend_plan(plan, added)
    # rows that were bad before belong to what they came with; a row that the plan does not know came last
    known, last = plan_file.rejected, int(plan.generation.max())
    came = [replace(row, generation=known.get(row.key, last)) for row in rejected if row.key not in row_of]
    earlier = [min_s for min_s in dict.fromkeys((*plan_file.earlier_min_s, was)) if min_s != settings.min_s]
    plan = replace(plan, rejected=tuple(came), decoders=plan_file.decoders, earlier_min_s=tuple(earlier))
    return _written(plan, out) if added or was != settings.min_s else plan


def _refuse_divided(plan: ShardPlan, out: Store) -> None:
    """Raise ValueError if splits that we made before groups were given divide them."""
    if plan.overlap is None and (divided := plan.divided_groups):
        raise ValueError(
            f"{out.uri} was begun without groups, and {len(divided)} are in more than one split, the first is "
            f"{divided[0]!r}. Choose another folder for out, or go on without groups: columns.group=''"
        )


def _with_begun_key(song: Song, row_of: Mapping[str, int]) -> Song:
    """Give a song the key under which an earlier version put it into the plan."""
    key = earlier_key(song.key)
    return replace(song, key=key) if song.key not in row_of and key in row_of else song


def _written(plan: ShardPlan, out: Store) -> ShardPlan:
    takedowns = read_takedowns(out)
    try:
        Budget(plan, takedowns).check({}, planned=False)
    except FailureBudgetError:
        rows = [row.quarantined(takedowns) for row in plan.rejected]
        rejected_keys = {row.key for row in rows}
        write_quarantine(out, [*rows, *(song for song in read_quarantine(out) if song.key not in rejected_keys)])
        raise
    out.write_bytes(PLAN_PATH, _plan_bytes(plan))
    return plan


def note_decoders(plan: ShardPlan, out: Store) -> ShardPlan:
    """Add this machine's decoders, which are about to write shards, to the plan and, if they are new, to its file."""
    if (ours := decoder_versions()) in plan.decoders:
        return plan
    plan = replace(plan, decoders=(*plan.decoders, ours))
    if out.exists(PLAN_PATH):
        stored = read_plan_file(out)
        meta = _meta(stored.settings, stored.vocabulary, stored.rejected, plan.decoders, stored.earlier_min_s)
        out.write_bytes(PLAN_PATH, table_bytes(stored.table.replace_schema_metadata(meta)))
    return plan


def _first(rejected: Sequence[Rejected]) -> str:
    return f" {len(rejected)} rows have no song, the first: {rejected[0]}." if rejected else ""


@dataclass(frozen=True, eq=False)
class PlanFile:
    """The content of ``plan.parquet``: a row for each song, and what ``_meta`` stores beside the rows."""

    table: pa.Table
    vocabulary: Vocabulary
    settings: dict[str, Any]
    rejected: dict[str, int]
    decoders: tuple[str, ...]
    earlier_min_s: tuple[float, ...]


def read_plan_file(out: Store) -> PlanFile:
    """Read the plan. Raises FileNotFoundError if there is none, ValueError, naming the file, if it is damaged."""
    where = f"{out.uri}/{PLAN_PATH}"
    file = ParquetTable(pa.BufferReader(out.read_bytes(PLAN_PATH)), where)
    meta = read_object(file.metadata.get(_META, b""), where)
    try:
        vocabulary = Vocabulary.from_fields(read_object(meta["vocabulary"], "its vocabulary"))
        ShardSettings(**meta["settings"])
        rejected = {str(key): int(generation) for key, generation in meta.get(_REJECTED, {}).items()}
        decoders = tuple(map(str, meta.get(_DECODERS, ())))
        earlier = tuple(map(float, meta.get(_EARLIER, ())))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{where} is no plan that this version reads ({error!r})") from None
    labels = pa.field("labels", pa.list_(pa.float32(), len(vocabulary)), nullable=False)
    return PlanFile(file.select(_SCHEMA.append(labels)), vocabulary, meta["settings"], rejected, decoders, earlier)


def read_plan(out: Store) -> ShardPlan:
    """Read the stored plan. Its songs have no paths, because the plan does not record where audio files are."""
    plan_file = read_plan_file(out)
    table = plan_file.table
    songs = [
        Song(key, "", artist, {}, official)
        for key, artist, official in zip(
            *(table[name].to_pylist() for name in ("key", "artist", "official")), strict=True
        )
    ]
    return ShardPlan(
        songs=songs,
        labels_NK=_labels(table),
        split=table["split"].to_pylist(),
        order=table["order"].to_numpy(),
        generation=table["generation"].to_numpy(),
        vocabulary=plan_file.vocabulary,
        settings=ShardSettings(**plan_file.settings),
    )


def _labels(table: pa.Table) -> np.ndarray:
    labels = table["labels"].combine_chunks()
    return labels.flatten().to_numpy().reshape(len(labels), -1)


def _sized(settings: ShardSettings, songs: Sequence[Song]) -> ShardSettings:
    """Set the number of songs per shard to give SHARD_MB, by the mean size of a sample of songs that can be decoded.

    The sample is taken in the order of keys, so the plan does not depend on the order of the listing. Raises StoreError
    if the songs cannot be reached.
    """
    if settings.songs_per_shard:
        return settings
    by_key = sorted(songs, key=lambda song: song.key)
    lengths, unreachable = [], None
    for song in by_key[:: max(1, len(by_key) // _SAMPLED)]:
        try:
            lengths.append(len(decode_song(song, settings).pcm_T))
        except DecodeError:
            continue
        except StoreError as error:
            unreachable = error
    if unreachable and not lengths:
        raise unreachable
    mean_bytes = SAMPLE_BYTES * float(np.mean(lengths)) if lengths else 1e6  # half a minute
    return replace(settings, songs_per_shard=max(1, round(SHARD_MB * 1e6 / mean_bytes)))


def _taken_down(table: pa.Table, listed: set[str], takedowns: dict[str, str], vocabulary: Vocabulary) -> list[Song]:
    """Return the songs of the plan that were taken down and are no longer listed."""
    removed = [key in takedowns and key not in listed for key in table["key"].to_pylist()] if takedowns else []
    rows = table.filter(pa.array(removed)).to_pylist() if any(removed) else []
    return [
        Song(row["key"], "", row["artist"], vocabulary.decode(np.array(row["labels"], np.float32)), row["official"])
        for row in rows
    ]


def _meta(
    settings: dict[str, Any],
    vocabulary: Vocabulary,
    rejected: dict[str, int],
    decoders: Sequence[str],
    earlier_min_s: Sequence[float],
) -> dict[bytes, str]:
    """Return what is stored beside the rows; ``rejected`` is the addition of each rejected row by its key."""
    optional = {_REJECTED: rejected, _DECODERS: decoders, _EARLIER: earlier_min_s}
    meta: dict[str, Any] = {"settings": settings, "vocabulary": vocabulary.to_json()}
    meta |= {name: value for name, value in optional.items() if value}
    return {_META: json.dumps(meta, sort_keys=True)}


def _plan_bytes(plan: ShardPlan) -> bytes:
    rejected = {row.key: row.generation for row in plan.rejected}
    meta = _meta(plan.settings.of_plan(), plan.vocabulary, rejected, plan.decoders, plan.earlier_min_s)
    labels = pa.FixedSizeListArray.from_arrays(pa.array(plan.labels_NK.ravel()), len(plan.vocabulary))
    columns = {
        "key": pa.array([song.key for song in plan.songs], pa.string()),
        "artist": pa.array([song.artist for song in plan.songs], pa.string()),
        "official": pa.array([song.split for song in plan.songs], pa.string()),
        "split": pa.array(plan.split, pa.string()),
        "order": pa.array(plan.order, pa.int64()),
        "generation": pa.array(plan.generation, pa.int64()),
        "labels": labels,
    }
    return table_bytes(pa.table(columns, metadata=meta))


def _changes(
    table: pa.Table,
    begun_settings: Mapping[str, Any],
    begun: Vocabulary,
    row_of: Mapping[str, int],
    songs: list[Song],
    labels_NK: np.ndarray,
    vocabulary: Vocabulary,
    settings: ShardSettings,
) -> list[str]:
    """Describe what differs from the begun plan."""
    now = settings.of_plan()
    changes = [
        f"{name} was {value} and is {now[name]}"
        for name, value in begun_settings.items()
        if value != now[name] and name != "min_s"
    ]
    if begun != vocabulary:
        return [*changes, _tag_changes(begun, vocabulary, songs)]
    added = [song.key for song in songs if song.key not in row_of]
    removed = sorted(row_of.keys() - {song.key for song in songs})
    if added:
        changes.append(f"{len(added)} songs added to {table.num_rows}, the first is {added[0]}")
    if removed:
        changes.append(f"{len(removed)} of {table.num_rows} songs no longer listed, the first is {removed[0]}")
    differ: dict[str, list[str]] = {"labels": [], "artist": [], "official split": []}
    for low in range(0, len(songs), _COMPARED):  # in parts, to avoid a second copy of all labels
        part = [(song, i) for i, song in enumerate(songs[low : low + _COMPARED], low) if song.key in row_of]
        begun_rows = table.take([row_of[song.key] for song, _ in part] or pa.array([], pa.int64()))
        begun_nK = _labels(begun_rows)
        artists, splits = begun_rows["artist"].to_pylist(), begun_rows["official"].to_pylist()
        for j, (song, i) in enumerate(part):
            if not np.array_equal(begun_nK[j], labels_NK[i]):
                differ["labels"].append(song.key)
            if artists[j] != song.artist:
                differ["artist"].append(song.key)
            if splits[j] != song.split:
                differ["official split"].append(song.key)
    return changes + [
        f"{len(keys)} songs have another {name}, the first is {keys[0]}" for name, keys in differ.items() if keys
    ]


def _tag_changes(begun: Vocabulary, now: Vocabulary, songs: Sequence[Song]) -> str:
    removed, new = set(begun.names) - set(now.names), set(now.names) - set(begun.names)
    if removed or new:
        first = next((f", the first in {song.key}" for song in songs if not new.isdisjoint(song.labels)), "")
        return f"the tags differ (removed: {sorted(removed)[:5]}; new: {sorted(new)[:5]}{first})"
    if begun.tags != now.tags:
        return "the tags have another order, kind or group"
    if begun.exclusive:
        return "every song had exactly one tag, and now not all have"
    return "not every song had exactly one tag, and now all have"
