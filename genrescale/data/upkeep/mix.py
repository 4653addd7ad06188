"""Mix several corpora into one: a manifest that names the shards of all of them.

Nothing is copied. The first corpus gives the vocabulary, the validation songs and the test songs; the others give only
train songs. Train songs are interleaved: the first N songs of the mix contain a proportional part of every corpus, so
sizes are nested as in any corpus. ``data.sampler=mixture`` weights the corpora otherwise than by their sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from genrescale.audio import Vocabulary
from genrescale.data.checksums import gather_checksums
from genrescale.data.features import keep_features
from genrescale.data.manifest import PARTS, SONG_SCHEMA, Manifest, write_manifest
from genrescale.data.sharding.plan import PLAN_PATH
from genrescale.data.summary import check_part
from genrescale.storage.lease import writing
from genrescale.storage.store import Store


@dataclass(frozen=True)
class LeftOut:
    """What a corpus does not add to a mix: ``tags`` that the first corpus lacks, and songs by reason."""

    uri: str
    tags: list[str]
    songs: dict[str, int]


def mix_corpora(manifests: Sequence[Manifest], out: Store) -> tuple[Manifest, list[LeftOut]]:
    """Write the mix of two or more corpora to ``out``. Models are scored on songs of the first one.

    Labels are matched by the names of the tags. A song of a further corpus is left out if none of its tags is a tag of
    the first corpus, if several are but the first has one per song, if the mix already has its audio (it may be a test
    song), or if its artist has validation or test songs. Raises ValueError for corpora that cannot be mixed, and
    BusyError if another job writes to ``out``.
    """
    with writing(out, "mix_corpora"):
        return _mix(manifests, out)


def _mix(manifests: Sequence[Manifest], out: Store) -> tuple[Manifest, list[LeftOut]]:
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
    keys = set(songs["key"].to_pylist())
    keep_features(out, keys.__contains__)  # of an earlier mix, with songs that were taken down since
    mix = write_manifest(
        *(out, songs, np.concatenate(labels), pa.concat_tables(shards), first.vocabulary, settings),
        checksums=np.concatenate(checksums),
    )
    return mix, left_out


def refuse_mix(manifest: Manifest, what: str) -> None:
    """Raise ValueError if this is a mix: ``what`` can be done only to its corpora."""
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
    """Return what identifies the audio of songs: checksum and length."""
    columns = (manifest.column(name)[rows].tolist() for name in ("crc32", "num_samples"))
    return list(zip(*columns, strict=True))


def _artists(manifest: Manifest, rows: np.ndarray) -> list[str]:
    """Return artists in a form that can be compared between corpora: lower case, stripped; "" if unknown."""
    return [artist.strip().casefold() for artist in manifest.songs["artist"].take(pa.array(rows)).to_pylist()]


def _labels(manifest: Manifest, vocabulary: Vocabulary) -> np.ndarray:
    """Return a corpus's labels in the order of another vocabulary. A tag that it lacks is 0 for all its songs."""
    place = {name: k for k, name in enumerate(manifest.vocabulary.names)}
    labels_NK = np.zeros((len(manifest), len(vocabulary)), np.float32)
    for k, name in enumerate(vocabulary.names):
        if name in place:
            labels_NK[:, k] = manifest.labels_NK[:, place[name]]
    return labels_NK


def _addressed(manifest: Manifest) -> pa.Table:
    """Return the table of shards with whole addresses as names."""
    names = [f"{manifest.uri.rstrip('/')}/{name}" for name in manifest.shards["name"].to_pylist()]
    return manifest.shards.set_column(0, "name", pa.array(names, pa.string()))


def _interleaved(split_N: np.ndarray, order_N: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Return the nested order of the mix: every prefix of a split has each corpus's part of the songs, within one."""
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
