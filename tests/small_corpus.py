"""A corpus of twenty songs, made in half a second, to be damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from genrescale.audio import SAMPLE_RATE, Song, Tag, Vocabulary
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.shard import ShardTask, write_shard
from genrescale.data.shard_job import write_corpus
from genrescale.data.shard_plan import ShardSettings, fix_plan
from genrescale.data.store import Store

VOCABULARY = Vocabulary((Tag("rock"), Tag("jazz"), Tag("energy", "regress")))
SETTINGS = ShardSettings(val_fraction=0.2, test_fraction=0.0, songs_per_shard=4, min_s=0.5)
NUM_SONGS = 20
BROKEN = 7


def make_corpus(folder: Path) -> Manifest:
    """20 songs of 1 to 3 s, one of them broken, in shards of 4. No Ray: every shard is found written."""
    songs = []
    for i in range(NUM_SONGS):
        path = folder / f"{i}.wav"
        wave_T = np.random.default_rng(i).standard_normal(SAMPLE_RATE + 1700 * i) * 0.1
        soundfile.write(path, wave_T, SAMPLE_RATE)
        if i == BROKEN:
            path.write_bytes(b"")
        labels = {("rock", "jazz")[i % 2]: 1.0, "energy": i / NUM_SONGS}
        songs.append(Song(f"s{i:02d}", str(path), f"artist{i}", labels))
    out = Store(str(folder / "out"))
    plan = fix_plan(songs, VOCABULARY, SETTINGS, out)
    for name, split, rows in plan.shards():
        first = int(plan.order[rows.start])
        write_shard(ShardTask(out, name, split, first, plan.songs[rows], plan.digest(rows), SETTINGS))
    return read_manifest(write_corpus(plan, out).manifest.uri)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)
