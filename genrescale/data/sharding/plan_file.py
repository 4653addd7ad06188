"""The plan beside the shards, ``plan.parquet``: what was begun is continued, added to, or refused in words."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from genrescale.audio import SAMPLE_BYTES, Song, Vocabulary
from genrescale.data.decoding.decoders import DecodeError, decoder_versions
from genrescale.data.quarantine import Rejected, read_quarantine, write_quarantine
from genrescale.data.sharding.budget import Budget
from genrescale.data.sharding.plan import (
    PLAN_PATH,
    SHARD_MB,
    FailureBudgetError,
    ShardPlan,
    ShardSettings,
    arranged,
    checked,
    extend_plan,
    make_plan,
)
from genrescale.data.sharding.writer import decode_song
from genrescale.data.takedowns import read_takedowns
from genrescale.storage.parquet import table_bytes, table_of
from genrescale.storage.store import Store, StoreError

_META = b"genrescale"
_REJECTED, _DECODERS = "rejected", "decoders"
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
    """The plan that ``out`` was begun with, or a new one, now written there.

    A plan that was begun is kept as it is, also where another machine or version would break ties otherwise; with
    ``append`` the songs that it lacks become its next generation. Songs that were taken down need not be listed any
    more. ``rejected`` rows are those of the listing: each is remembered with the addition that it came with.

    Raises ValueError that says what changed where the songs, labels or settings are not those of the begun plan, and
    FailureBudgetError, with the quarantine written and no plan, where too many rows were rejected.
    """
    if not out.exists(PLAN_PATH):
        if out.list("shards"):
            raise ValueError(f"{out.uri} holds shards but no {PLAN_PATH}; choose an empty folder for out")
        if not songs:
            raise ValueError("the corpus has no songs")
        if append:
            raise ValueError(f"{out.uri} holds no corpus that songs could be added to; begin one without append=true")
        plan = make_plan(songs, vocabulary, _sized(settings, songs))
        return _written(replace(plan, rejected=tuple(rejected), decoders=(decoder_versions(),)), out)
    table = table_of(out.read_bytes(PLAN_PATH))
    meta = json.loads(table.schema.metadata[_META])
    settings = replace(settings, songs_per_shard=settings.songs_per_shard or meta["settings"]["songs_per_shard"])
    row_of = {key: i for i, key in enumerate(table["key"].to_pylist())}
    begun = Vocabulary.from_json(meta["vocabulary"])
    gone = _taken_down(table, {song.key for song in songs}, read_takedowns(out), begun)
    if gone and set(vocabulary.tags) <= set(begun.tags):
        vocabulary = begun  # of tags that only they had, the songs that are listed say nothing
    if vocabulary == begun:
        songs = [*songs, *gone]
    added = [song for song in songs if song.key not in row_of] if append else []
    listed, labels_NK = checked([song for song in songs if song.key in row_of] if added else songs, vocabulary)
    changes = _changes(table, meta["settings"], begun, row_of, listed, labels_NK, vocabulary, settings)
    if changes:
        remedy = "" if append else "add songs with append=true, "
        raise ValueError(
            f"{out.uri} was begun with another plan: {'; '.join(changes)}.{_first(rejected)} Go back to it, {remedy}"
            f"take songs out with jobs/take_down.py, choose another folder for out, or delete {out.uri} to start over"
        )
    rows = np.array([row_of[song.key] for song in listed])
    split_N, place, generation = (table[name].to_numpy()[rows] for name in ("split", "order", "generation"))
    plan = arranged(listed, labels_NK, split_N, place, generation, vocabulary, settings)
    if added:
        plan = extend_plan(plan, added)
    # rows that were bad before belong to what they came with; a row that the plan does not know came last
    known, last = meta.get(_REJECTED, {}), int(plan.generation.max())
    came = [replace(row, generation=known.get(row.key, last)) for row in rejected if row.key not in row_of]
    plan = replace(plan, rejected=tuple(came), decoders=tuple(meta.get(_DECODERS, ())))
    return _written(plan, out) if added else plan


def _written(plan: ShardPlan, out: Store) -> ShardPlan:
    takedowns = read_takedowns(out)
    try:
        Budget(plan, takedowns).check({}, planned=False)
    except FailureBudgetError:
        rows = [row.quarantined(takedowns) for row in plan.rejected]
        there = {row.key for row in rows}
        write_quarantine(out, [*rows, *(song for song in read_quarantine(out) if song.key not in there)])
        raise
    out.write_bytes(PLAN_PATH, _plan_bytes(plan))
    return plan


def note_decoders(plan: ShardPlan, out: Store) -> ShardPlan:
    """The plan with the decoders of this machine, which is about to write shards; written where they are new to it."""
    if (ours := decoder_versions()) in plan.decoders:
        return plan
    plan = replace(plan, decoders=(*plan.decoders, ours))
    if out.exists(PLAN_PATH):
        table = table_of(out.read_bytes(PLAN_PATH))
        meta = json.loads(table.schema.metadata[_META]) | {_DECODERS: plan.decoders}
        table = table.replace_schema_metadata({_META: json.dumps(meta, sort_keys=True)})
        out.write_bytes(PLAN_PATH, table_bytes(table))
    return plan


def _first(rejected: Sequence[Rejected]) -> str:
    return f" {len(rejected)} rows give no song, the first: {rejected[0]}." if rejected else ""


def read_plan(out: Store) -> ShardPlan:
    """The plan as it was written. Its songs have no paths: the plan does not know where music lies."""
    table = table_of(out.read_bytes(PLAN_PATH))
    meta = json.loads(table.schema.metadata[_META])
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
        vocabulary=Vocabulary.from_json(meta["vocabulary"]),
        settings=ShardSettings(**meta["settings"]),
    )


def _labels(table: pa.Table) -> np.ndarray:
    labels = table["labels"].combine_chunks()
    return labels.flatten().to_numpy().reshape(len(labels), -1)


def _sized(settings: ShardSettings, songs: Sequence[Song]) -> ShardSettings:
    """Settings with as many songs to a shard as make SHARD_MB, by the mean of the first songs that can be decoded.

    The songs are taken in the order of their keys, so a plan does not depend on how they were listed. Raises StoreError
    where the songs cannot be reached.
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
    """Songs of the plan that were taken down and are listed no more, as the plan knows them."""
    gone = [key in takedowns and key not in listed for key in table["key"].to_pylist()] if takedowns else []
    rows = table.filter(pa.array(gone)).to_pylist() if any(gone) else []
    return [
        Song(row["key"], "", row["artist"], vocabulary.decode(np.array(row["labels"], np.float32)), row["official"])
        for row in rows
    ]


def _plan_bytes(plan: ShardPlan) -> bytes:
    meta: dict[str, Any] = {"settings": plan.settings.of_plan(), "vocabulary": plan.vocabulary.to_json()}
    if plan.rejected:
        meta[_REJECTED] = {row.key: row.generation for row in plan.rejected}
    if plan.decoders:
        meta[_DECODERS] = plan.decoders
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
    sink = io.BytesIO()
    pq.write_table(pa.table(columns, metadata={_META: json.dumps(meta, sort_keys=True)}), sink)
    return sink.getvalue()


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
    """What is not as in the begun plan, in words."""
    now = settings.of_plan()
    changes = [f"{name} was {value} and is {now[name]}" for name, value in begun_settings.items() if value != now[name]]
    if begun != vocabulary:
        return [*changes, _tag_changes(begun, vocabulary, songs)]
    added = [song.key for song in songs if song.key not in row_of]
    removed = sorted(row_of.keys() - {song.key for song in songs})
    if added:
        changes.append(f"{len(added)} songs added to {table.num_rows}, the first is {added[0]}")
    if removed:
        changes.append(f"{len(removed)} of {table.num_rows} songs no longer listed, the first is {removed[0]}")
    differ: dict[str, list[str]] = {"labels": [], "artist": [], "official split": []}
    for low in range(0, len(songs), _COMPARED):  # in parts, so that not all labels lie in memory once more
        part = [(song, i) for i, song in enumerate(songs[low : low + _COMPARED], low) if song.key in row_of]
        there = table.take([row_of[song.key] for song, _ in part] or pa.array([], pa.int64()))
        begun_nK, artists, splits = _labels(there), there["artist"].to_pylist(), there["official"].to_pylist()
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
    gone, new = set(begun.names) - set(now.names), set(now.names) - set(begun.names)
    if gone or new:
        first = next((f", the first in {song.key}" for song in songs if not new.isdisjoint(song.labels)), "")
        return f"the tags differ (no longer there: {sorted(gone)[:5]}; new: {sorted(new)[:5]}{first})"
    if begun.tags != now.tags:
        return "the tags have another order, kind or group"
    if begun.exclusive:
        return "every song had exactly one tag, and not every one has now"
    return "not every song had exactly one tag, and now every one has"
