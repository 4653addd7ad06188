"""However a shard is damaged: every crop is right or refused with the shard, the song and what was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.small_corpus import flip

from genrescale.audio import SAMPLE_BYTES
from genrescale.data.manifest import Manifest
from genrescale.data.reading.crops import SongTable, read_crops
from genrescale.data.reading.spans import DamagedShardError, mapped_shard

BLOCK = 512  # of a tar
CROP = 9_000


@pytest.fixture
def manifest(copy: Manifest) -> Manifest:
    mapped_shard.cache_clear()
    return copy


@pytest.fixture
def table(manifest: Manifest) -> SongTable:
    return SongTable.of(manifest, manifest.select("train"))


VICTIM = 5  # its song in the table


def shard_of(table: SongTable) -> Path:
    path = table.store.local_path(table.shard_names[table.shard_N[VICTIM]])
    assert path is not None
    return path


def truncate_at_a_header(table: SongTable) -> None:
    path = shard_of(table)
    path.write_bytes(path.read_bytes()[: int(table.offset_N[VICTIM]) - BLOCK])


def truncate_inside_data(table: SongTable) -> None:
    path = shard_of(table)
    path.write_bytes(path.read_bytes()[: int(table.offset_N[VICTIM]) + 1000])


def flip_in_a_header(table: SongTable) -> None:
    flip(shard_of(table), int(table.offset_N[VICTIM]) - BLOCK + 10)


def flip_in_data(table: SongTable) -> None:
    flip(shard_of(table), int(table.offset_N[VICTIM]) + 700)


def empty(table: SongTable) -> None:
    shard_of(table).write_bytes(b"")


def remove(table: SongTable) -> None:
    shard_of(table).unlink()


def swap(table: SongTable) -> None:
    other = next(name for name in table.shard_names if name != table.shard_names[table.shard_N[VICTIM]])
    there = table.store.local_path(other)
    assert there is not None
    here = shard_of(table)
    mine, theirs = here.read_bytes(), there.read_bytes()
    here.write_bytes(theirs)
    there.write_bytes(mine)


def shift(table: SongTable) -> None:
    """As after a repair that forgot a member."""
    path = shard_of(table)
    path.write_bytes(path.read_bytes()[BLOCK:])


def read_all(table: SongTable) -> dict[int, np.ndarray | str]:
    """Every song's audio in two crops, or the refusal."""
    found: dict[int, np.ndarray | str] = {}
    for song in range(len(table)):
        starts = np.array([0, max(0, int(table.len_N[song]) - CROP)])
        try:
            found[song] = read_crops(table, np.array([song, song]), starts, CROP)
        except DamagedShardError as error:
            found[song] = str(error)
    return found


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (truncate_at_a_header, "is truncated: song {key} needs bytes {offset} to"),
        (truncate_inside_data, "is truncated: song {key} needs bytes {offset} to"),
        (flip_in_data, "second 0 of song {key} does not match its checksum"),
        (empty, "cannot be read"),
        (remove, "cannot be read"),
        (swap, "song {key}"),
        (shift, "second 0 of song {key} does not match its checksum"),
    ],
)
def test_damage_is_refused_and_named_and_other_songs_are_whole(
    table: SongTable, damage: Callable[[SongTable], None], told: str
):
    whole = read_all(table)
    assert not any(isinstance(audio, str) for audio in whole.values())
    mapped_shard.cache_clear()
    damage(table)
    found = read_all(table)
    refusal = found[VICTIM]
    assert isinstance(refusal, str)
    assert table.shard_names[table.shard_N[VICTIM]] in refusal
    assert told.format(key=table.keys[VICTIM], offset=table.offset_N[VICTIM]) in refusal
    for song, audio in found.items():
        if not isinstance(audio, str):
            np.testing.assert_array_equal(audio, whole[song])
        elif damage is not swap:
            assert table.shard_N[song] == table.shard_N[VICTIM]


def test_a_damaged_header_does_not_touch_the_audio(table: SongTable):
    """Crops are read by the manifest's offsets; jobs/verify_corpus.py finds the header."""
    whole = read_all(table)
    flip_in_a_header(table)
    mapped_shard.cache_clear()
    for song, audio in read_all(table).items():
        np.testing.assert_array_equal(audio, whole[song])


def test_any_flipped_byte_of_a_song_is_found(table: SongTable):
    path, rng = shard_of(table), np.random.default_rng(0)
    offset, length = int(table.offset_N[VICTIM]), int(table.len_N[VICTIM])
    clean = path.read_bytes()
    for place in rng.integers(0, length * SAMPLE_BYTES, 30).tolist():
        path.write_bytes(clean)
        flip(path, offset + place)
        mapped_shard.cache_clear()
        with pytest.raises(DamagedShardError, match=rf"{table.keys[VICTIM]} does not match.*[0-9a-f]{{8}}, not "):
            read_crops(table, np.array([VICTIM]), np.array([0]), length)
