"""make soak: the fuzz tests of ``tests/unit`` with other seeds and ten times as many songs and tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.bad_rows import check_corpus
from helpers.mutations import BY_FFMPEG, IN_PROCESS, TABLES, check_song, check_table, mutated_songs, mutated_table

FIRST = 100_000
NUM_SONGS = {**dict.fromkeys(IN_PROCESS, 2200), **dict.fromkeys(BY_FFMPEG, 400)}
NUM_TABLES = 6000

DAMAGED = dict.fromkeys(IN_PROCESS, 32) | dict.fromkeys(BY_FFMPEG, 4)

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("kind", NUM_SONGS)
def test_a_damaged_song_is_a_clip_or_refused_by_name(tmp_path: Path, kind: str):
    for name, data in mutated_songs(kind, NUM_SONGS[kind], tmp_path, FIRST):
        check_song(data, name)


@pytest.mark.parametrize("kind", TABLES)
def test_a_damaged_table_gives_a_plan_or_an_error_that_names_it(tmp_path: Path, kind: str):
    for i in range(FIRST, FIRST + NUM_TABLES):
        check_table(tmp_path / f"songs.{kind}", lambda i=i: mutated_table(kind, i))


@pytest.mark.parametrize("kind", TABLES)
def test_of_a_spoilt_table_every_row_is_in_a_shard_or_in_quarantine(tmp_path: Path, kind: str):
    for i in range(FIRST, FIRST + 5):
        became = check_corpus(tmp_path / str(i), tmp_path, kind, seed=i, num_rows=2000, damaged=DAMAGED)
        assert min(became.values()) > 3
