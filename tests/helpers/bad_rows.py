"""Tables of many rows, some of them spoilt, and song files, some of them damaged; and what must become of each row."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from helpers.mutations import SONG_S, generator, mutated_songs
from helpers.small_corpus import contents, shard_here

from genrescale.audio import SAMPLE_RATE
from genrescale.config.corpus import ShardSettings
from genrescale.data.corpora import list_corpus
from genrescale.data.quarantine import read_quarantine
from genrescale.data.sharding.result import ShardingResult
from genrescale.storage.store import Store

ROW = re.compile(r"row (\d+)")
HEADER = ["path", "labels", "artist", "split", "regress:energy"]
_HARMLESS: tuple[tuple[int, Any], ...] = (
    *((1, ""), (1, "|"), (1, "rock|rock"), (1, " rock "), (1, "a,b"), (1, "🎵"), (1, "\u2028"), (1, "a|b|c|" * 99)),
    *((2, "'; DROP TABLE"), (2, "x" * 100_000), (2, ""), (2, "nan"), (3, "val"), (3, "training")),
    *((4, "1e-3"), (4, "  0.5 "), (4, "1"), (4, "0"), (4, "1_0e-2")),
)
_SPOILT: tuple[tuple[int, Any], ...] = (
    *((0, ""), (3, "tset"), (3, ""), (3, "Train"), (3, " train"), (3, "x" * 100_000), (3, "🎵"), (3, "\0")),
    *((4, ""), (4, "nan"), (4, "NaN"), (4, "inf"), (4, "-1"), (4, "1e999"), (4, "0x10"), (4, "9" * 5000), (4, "1,5")),
)
_ODD: tuple[tuple[int, Any], ...] = (
    *((0, None), (0, 7), (0, ["a.mp3"]), (0, {}), (0, True), (1, {"a": 1}), (1, [["a"]]), (1, ["rock", None])),
    *((1, float("nan")), (3, 5), (3, ["train"]), (4, None), (4, [0.5]), (4, float("nan")), (4, 10**400), (4, 1.5)),
)


def spoil(kind: str, seed: int, num_rows: int, files: list[str]) -> tuple[list[list[Any]], dict[int, bool]]:
    """Rows over ``files`` (one each, in their order), and which of them (from 1) were made bad.

    A row that repeats another's path is bad from its second naming on.
    """
    rng = generator(f"rows of {kind}", seed)
    splits = ["train"] * 8 + ["validation", "test"]
    rows: list[list[Any]] = [
        [files[i], ("rock", "jazz|live", "80")[i % 3], f"artist {i % 50}", splits[i % 10], str(i % 11 / 10)]
        for i in range(num_rows)
    ]
    bad = dict.fromkeys(range(1, num_rows + 1), False)
    spoilt = _SPOILT + (_ODD if kind == "jsonl" else ())
    for row in rng.choice(np.arange(1, num_rows), num_rows // 3, replace=False).tolist():
        match rng.integers(0, 4):
            case 0:
                rows[row][0] = files[int(rng.integers(0, row))]
            case 1:
                column, cell = _HARMLESS[rng.integers(len(_HARMLESS))]
                rows[row][column] = cell
            case _:
                column, cell = spoilt[rng.integers(len(spoilt))]
                rows[row][column] = cell
                bad[row + 1] = True
    seen: set[str] = set()
    for row, (path, *_) in enumerate(rows, 1):
        if isinstance(path, str) and path:
            bad[row] |= path in seen
            seen.add(path)
    return rows, bad


def make_files(folder: Path, formats: Path, num_rows: int, damaged: dict[str, int], seed: int) -> list[str]:
    """``num_rows`` song files; those of ``damaged`` (so many of every kind), evenly spread, are named so."""
    spoilt = [data for kind, count in damaged.items() for _, data in mutated_songs(kind, count, formats, seed)]
    step = max(1, num_rows // max(1, len(spoilt)))
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for i in range(num_rows):
        if i % step == step - 1 and i // step < len(spoilt):
            files.append(f"damaged {i}.mp3")
            (folder / files[-1]).write_bytes(spoilt[i // step])
        else:
            files.append(f"{i}.wav")
            wave_T = 0.1 * np.random.default_rng([seed, i]).standard_normal(int(SONG_S * SAMPLE_RATE))
            soundfile.write(folder / files[-1], wave_T, SAMPLE_RATE)
    return files


def write_table(folder: Path, kind: str, rows: list[list[Any]]) -> Path:
    path = folder / f"songs.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(HEADER, row, strict=True))) for row in rows))
    elif kind == "parquet":
        pq.write_table(pa.table({name: [row[k] for row in rows] for k, name in enumerate(HEADER)}), path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file, delimiter="," if kind == "csv" else "\t").writerows([HEADER, *rows])
    return path


def check_corpus(folder: Path, formats: Path, kind: str, seed: int, num_rows: int, damaged: dict[str, int]) -> Counter:
    """Shard a spoilt table by the job's own code; fails where a row gets lost. Counts what became of the rows."""
    files = make_files(folder, formats, num_rows, damaged, seed)
    rows, bad = spoil(kind, seed, num_rows, files)
    table, out = write_table(folder, kind, rows), Store(str(folder / "out"))
    settings = ShardSettings(songs_per_shard=64, min_s=0.05, max_failure_rate=1.0)
    listing = list_corpus("table", str(table))

    def shard() -> ShardingResult:
        return shard_here(listing.songs, out, False, settings, listing.vocabulary, listing.rejected)

    result = shard()
    by_row = {int(ROW.match(row.reason)[1]): row for row in listing.rejected}  # type: ignore[index]
    assert sorted(by_row) == [row for row, is_bad in bad.items() if is_bad]
    quarantine = {song.key: song for song in read_quarantine(out)}
    assert all(song.reason for song in quarantine.values())
    assert all(
        (quarantine[row.key].path, quarantine[row.key].reason) == (row.path, row.reason) for row in by_row.values()
    )
    kept = {Path(path).name for path in result.manifest.songs["path"].to_pylist()}
    refused = {
        Path(song.path).name for key, song in quarantine.items() if key not in {row.key for row in by_row.values()}
    }
    # every good row is a song in a shard, or a song in quarantine whose file is damaged
    assert kept | refused == {rows[row - 1][0] for row, is_bad in bad.items() if not is_bad}
    assert not kept & refused
    assert all("damaged" in name for name in refused)
    assert num_rows == result.given == len(kept) + len(refused) + len(by_row) == len(result.manifest) + len(quarantine)
    assert f"{num_rows} songs given: {len(kept)} in shards" in result.summary()
    before = contents(out.uri)
    assert shard().written == 0
    assert contents(out.uri) == before
    return Counter(
        rejected=len(by_row),
        refused=len(refused),
        kept=len(kept),
        kept_damaged=len([n for n in kept if "damaged" in n]),
    )
