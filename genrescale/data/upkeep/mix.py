"""Several corpora as one: a manifest whose shards lie in the corpora that it was mixed from.

Nothing is copied. The first corpus gives the vocabulary and the songs to validate and test on; the others give songs to
train on. Train songs are interleaved, so that the first N of the mix have N's part of every corpus, and sizes are
nested as in any corpus. ``data.sampler=mixture`` gives each corpus another weight than its number of songs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from genrescale.audio import Vocabulary
from genrescale.data.checksums import gather_checksums
from genrescale.data.manifest import PARTS, SONG_SCHEMA, Manifest, write_manifest
from genrescale.data.sharding.plan import PLAN_PATH
from genrescale.data.summary import check_part
from genrescale.storage.store import Store


@dataclass(frozen=True)
class LeftOut:
    """What a corpus does not bring into a mix: ``tags`` that the first has not; songs by the reason."""

    uri: str
    tags: list[str]
    songs: dict[str, int]


def mix_corpora(manifests: Sequence[Manifest], out: Store) -> tuple[Manifest, list[LeftOut]]:
    """Write the mix of two or more corpora, the first of which is the one to score on, to ``out``.

    Labels are matched by the tags' names. A song of a further corpus is left out where none of its tags is a tag of
    the first, or several where those exclude each other, and where its audio is that of a song that the mix already
    has: it might be one of the test set.
    Raises ValueError for corpora that cannot be mixed.
    """
    first, *others = manifests
    _check(manifests, out)
    seen = set(_audio(first, np.arange(len(first))))
    scored = np.concatenate([first.select("validation"), first.select("test")])
    judged = sorted(set(_artists(first, scored)) - {""})
    tables, labels, shards, left_out = [first.songs], [first.labels_NK], [_addressed(first)], []
    checksums = [gather_checksums(first, np.arange(len(first)))]
    parts = [{"uri": first.uri, "version": first.version, "first_shard": 0}]
    for manifest in others:
        rows = manifest.select("train")
        labels_NK = _labels(manifest, first.vocabulary)[rows]
        untagged_N = ~(labels_NK > 0).any(axis=1)
        several_N = ((labels_NK > 0).sum(axis=1) > 1) & first.vocabulary.exclusive
        audio = _audio(manifest, rows)
        known_N = np.array([a in seen for a in audio]) & ~untagged_N & ~several_N
        judged_N = np.isin(_artists(manifest, rows), judged) & ~untagged_N & ~several_N & ~known_N
        kept_N = ~untagged_N & ~several_N & ~known_N & ~judged_N
        seen.update(a for a, kept in zip(audio, kept_N, strict=True) if kept)
        if not kept_N.any():
            raise ValueError(
                f"none of the {len(rows)} train songs of {manifest.uri} can be mixed in: {first.uri} has none of their "
                "tags, or several where a song has one, or has their audio or artists"
            )
        first_shard = sum(table.num_rows for table in shards)
        songs = manifest.songs.take(pa.array(rows[kept_N]))
        shard = pa.array((songs["shard"].to_numpy() + first_shard).astype(np.int32))
        tables.append(songs.set_column(SONG_SCHEMA.get_field_index("shard"), SONG_SCHEMA.field("shard"), shard))
        labels.append(labels_NK[kept_N])
        checksums.append(gather_checksums(manifest, rows[kept_N]))
        shards.append(_addressed(manifest))
        parts.append({"uri": manifest.uri, "version": manifest.version, "first_shard": first_shard})
        reasons = {
            "none of their tags is one of the mix": untagged_N,
            "they have several tags, and the mix one a song": several_N,
            "the mix has their audio": known_N,
            "an artist of that name is validated or tested on": judged_N,
        }
        foreign = sorted(set(manifest.vocabulary.names) - set(first.vocabulary.names))
        left_out.append(LeftOut(manifest.uri, foreign, {why: int(which_N.sum()) for why, which_N in reasons.items()}))
    songs = pa.concat_tables(tables)
    order = _interleaved(songs["split"].to_numpy(), songs["order"].to_numpy(), [len(table) for table in tables])
    songs = songs.set_column(SONG_SCHEMA.get_field_index("order"), SONG_SCHEMA.field("order"), pa.array(order))
    settings = {**first.settings, PARTS: parts}
    mix = write_manifest(
        *(out, songs, np.concatenate(labels), pa.concat_tables(shards), first.vocabulary, settings),
        checksums=np.concatenate(checksums),
    )
    return mix, left_out


def refuse_mix(manifest: Manifest, what: str) -> None:
    """Raises ValueError, for what can be done only to the corpora of a mix."""
    if PARTS in manifest.settings:
        uris = ", ".join(part["uri"] for part in manifest.settings[PARTS])
        raise ValueError(f"{manifest.uri} is a mix and has no shards of its own; {what} its corpora: {uris}")


def _check(manifests: Sequence[Manifest], out: Store) -> None:
    if len(manifests) < 2:
        raise ValueError(f"a mix needs at least 2 corpora, got {len(manifests)}")
    for manifest in manifests:
        refuse_mix(manifest, "mix")
    if out.uri in {manifest.uri for manifest in manifests} or out.exists(PLAN_PATH):
        raise ValueError(f"{out.uri} is a corpus with shards of its own; give the mix a folder of its own: out=...")
    for manifest in manifests:
        check_part(out, manifest.uri)
    first = manifests[0].vocabulary
    for other in manifests[1:]:
        kinds = {tag.name: tag.kind for tag in other.vocabulary.tags}
        differ = [tag.name for tag in first.tags if kinds.get(tag.name, tag.kind) != tag.kind]
        if differ:
            raise ValueError(
                f"tag {differ[0]} is classified in one and regressed in the other of {manifests[0].uri} and "
                f"{other.uri}: they cannot be mixed"
            )


def _audio(manifest: Manifest, rows: np.ndarray) -> list[tuple[int, int]]:
    """What tells two songs' audio apart: its checksum and its length."""
    columns = (manifest.column(name)[rows].tolist() for name in ("crc32", "num_samples"))
    return list(zip(*columns, strict=True))


def _artists(manifest: Manifest, rows: np.ndarray) -> list[str]:
    """Names as two corpora may share them: without case and spaces at the ends; "" where none is known."""
    return [artist.strip().casefold() for artist in manifest.songs["artist"].take(pa.array(rows)).to_pylist()]


def _labels(manifest: Manifest, vocabulary: Vocabulary) -> np.ndarray:
    """A corpus's labels in the order of another vocabulary's tags; a tag that it has not is 0 for all its songs."""
    place = {name: k for k, name in enumerate(manifest.vocabulary.names)}
    labels_NK = np.zeros((len(manifest), len(vocabulary)), np.float32)
    for k, name in enumerate(vocabulary.names):
        if name in place:
            labels_NK[:, k] = manifest.labels_NK[:, place[name]]
    return labels_NK


def _addressed(manifest: Manifest) -> pa.Table:
    """The table of shards with whole addresses."""
    names = [f"{manifest.uri.rstrip('/')}/{name}" for name in manifest.shards["name"].to_pylist()]
    return manifest.shards.set_column(0, "name", pa.array(names, pa.string()))


def _interleaved(split_N: np.ndarray, order_N: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """The nested order of the mix: in every prefix of a split each corpus has its part of the songs, to within one."""
    position_N = np.zeros(len(split_N))
    part_N = np.repeat(np.arange(len(lengths)), lengths)
    for split in np.unique(split_N):
        for part in range(len(lengths)):
            rows = np.flatnonzero((split_N == split) & (part_N == part))
            rows = rows[np.argsort(order_N[rows], kind="stable")]
            position_N[rows] = (np.arange(len(rows)) + 0.5) / max(1, len(rows))
    mixed_N = np.empty(len(split_N), np.int64)
    for split in np.unique(split_N):
        rows = np.flatnonzero(split_N == split)
        mixed_N[rows[np.lexsort((part_N[rows], position_N[rows]))]] = np.arange(len(rows))
    return mixed_N
