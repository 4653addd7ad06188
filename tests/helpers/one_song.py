"""A stream's source of many songs that are one, in a folder or in a bucket, made in a moment."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from genrescale.audio import SAMPLE_RATE
from genrescale.data.index import second_checksums
from genrescale.data.reading.crops import SongTable
from genrescale.data.reading.plan import RunPlan, ScorePlan, TrainPlan
from genrescale.data.reading.samplers import Uniform
from genrescale.data.reading.source import StreamSource
from genrescale.storage.store import Store

SONG_S, GROUP, NUM_SONGS = 30, 32, 512


def source_in(uri: str, crop_s: int) -> StreamSource:
    """One shard with one song, under the names of many; crops of ``crop_s`` seconds in groups of GROUP."""
    pcm = np.random.default_rng(0).integers(-(2**15), 2**15, SONG_S * SAMPLE_RATE, np.int16).tobytes()
    Store(uri).write_bytes("shards/0.tar", pcm)
    zeros = np.zeros(NUM_SONGS, np.int64)
    table = SongTable(
        store=Store(uri),
        shard_names=("shards/0.tar",),
        keys=pa.array([f"song{i}" for i in range(NUM_SONGS)]),
        shard_N=zeros,
        offset_N=zeros,
        len_N=np.full(NUM_SONGS, SONG_S * SAMPLE_RATE),
        crc_N=zeros,
        crc32=second_checksums(pcm),
        labels_NK=np.zeros((NUM_SONGS, 1), np.float32),
        part_N=zeros,
    )
    train = TrainPlan(table.len_N, 0, GROUP, GROUP, crop_s * SAMPLE_RATE, Uniform(NUM_SONGS))
    score = ScorePlan(table.len_N[:2], crop_s * SAMPLE_RATE, "consecutive", "validation")
    return StreamSource({"train": table, "validation": table, "test": table}, RunPlan(train, score, 99, 99), score)
