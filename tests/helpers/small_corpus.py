"""A corpus of twenty songs, made in half a second, to be damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from genrescale.audio import SAMPLE_RATE, Song, Tag, Vocabulary
from genrescale.config.corpus import ShardSettings
from genrescale.data.manifest import Manifest, read_manifest
from genrescale.data.quarantine import Rejected
from genrescale.data.sharding.job import read_indexes, shard_tasks, write_corpus
from genrescale.data.sharding.plan_file import fix_plan
from genrescale.data.sharding.result import ShardingResult
from genrescale.data.sharding.writer import ShardTask, write_shard
from genrescale.data.takedowns import read_takedowns
from genrescale.storage.store import Store

VOCABULARY = Vocabulary((Tag("rock"), Tag("jazz"), Tag("energy", "regress")))
SETTINGS = ShardSettings(val_fraction=0.2, test_fraction=0.0, songs_per_shard=4, min_s=0.5)
NUM_SONGS = 20
BROKEN = 7


def make_song(folder: Path, i: int, artist: str = "") -> Song:
    """Song ``i``: one to three seconds of noise."""
    path = folder / f"{i}.wav"
    wave_T = np.random.default_rng(i).standard_normal(SAMPLE_RATE + 1700 * i) * 0.1
    soundfile.write(path, wave_T, SAMPLE_RATE)
    labels = {("rock", "jazz")[i % 2]: 1.0, "energy": i / NUM_SONGS % 1.0}
    return Song(f"s{i:02d}", str(path), artist or f"artist{i}", labels)


def make_corpus(folder: Path) -> Manifest:
    """20 songs of 1 to 3 s, one of them broken, in shards of 4. No Ray: every shard is found written."""
    songs = [make_song(folder, i) for i in range(NUM_SONGS)]
    Path(songs[BROKEN].path).write_bytes(b"")
    return read_manifest(shard_here(songs, Store(str(folder / "out"))).manifest.uri)


def shard_here(
    songs: Sequence[Song],
    out: Store,
    append: bool = False,
    settings: ShardSettings = SETTINGS,
    vocabulary: Vocabulary = VOCABULARY,
    rejected: Sequence[Rejected] = (),
) -> ShardingResult:
    """Shard songs without Ray: the job finds every shard written."""
    plan = fix_plan(songs, vocabulary, settings, out, append, rejected)
    tasks = shard_tasks(plan, out, read_takedowns(out))
    for task, index in zip(tasks, read_indexes(out, tasks), strict=True):
        if index is None:
            write_shard(task)
    return write_corpus(plan, out)


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)


def rock_task(out: Store, songs: Sequence[Song], settings: ShardSettings | None = None) -> ShardTask:
    """The task of a first shard of ``songs``, all of them rock."""
    vocabulary, labels_nK = Vocabulary.of_classes(["rock"]), np.ones((len(songs), 1), np.float32)
    name = "shards/train-000000.tar"
    return ShardTask(out, name, "train", 0, songs, labels_nK, vocabulary, "plan", settings or ShardSettings())


def contents(folder: Path | str) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
