"""The names of the files that genrescale writes. No other file is ever deleted.

Anybody who can write to a bucket or a shared folder can put any name into a manifest or a plan. So every deletion is
checked against this list.
"""

from __future__ import annotations

import re

_RUN = "[0-9a-f]{12}"  # config.RUN_ID_LEN
_SHARD = r"shards/(?:train|validation|test)(?:-g\d{3})?-\d{6}"
SHARD_NAME = re.compile(rf"{_SHARD}\.tar")
"""A shard, below its corpus. ``-g001`` marks the shards of its first addition."""
RUN_ID = re.compile(_RUN)
VERSION = re.compile("[0-9a-f]{12}")
"""The version of a corpus."""
SONGS_PATH = re.compile(rf"manifest/{VERSION.pattern}/songs\.parquet")
SHARDS_PATH = re.compile(rf"manifest/{VERSION.pattern}/shards(?:\.{VERSION.pattern})?\.parquet")
CHECKSUMS_PATH = re.compile(rf"manifest/{VERSION.pattern}/checksums\.npy")
FEATURES_PATH = re.compile(rf"features/[a-z_]+(?:-[0-9a-f]{{12}})?-{VERSION.pattern}\.parquet")
"""Features of a corpus' songs: their kind, for embeddings the weights that made them, and the corpus version."""

_OURS = (
    r"lease\.json",  # of a job that writes to the store
    r"doctor/[0-9a-f]{16}\.json",  # what jobs/doctor.py writes, to see whether it may
    # a corpus
    *(r"manifest\.json", "(?:plan|quarantine|takedowns|odd_lengths)" + r"\.parquet", r"describe\.html"),
    *(rf"{_SHARD}\.(?:tar|index\.parquet)", SONGS_PATH.pattern, SHARDS_PATH.pattern, CHECKSUMS_PATH.pattern),
    FEATURES_PATH.pattern,
    # songs that were synthesised
    *(r"audio/songs/\d{4}/song-\d+\.(?:flac|ogg|mp3)", r"audio/songs\.parquet", r"audio/vocabulary\.json"),
    r"(?:audio/)?synthesis\.json",
    # a sweep; Ray and DeepSpeed write below tune/ and checkpoints/ID
    *(r"(?:sweep|failures|search)\.json", r"search/optuna\.log", r"search\.csv"),
    *(r"report\.html", r"figure\.png", r"(?:table|runs)\.csv"),
    *(r"(?:study|songs)\.html", r"tables/[a-z0-9_]+\.(?:csv|md|tex)", r"figures/scaling\.(?:png|svg)"),
    *(rf"baselines/{_RUN}/(?:result\.json|scores\.parquet)", r"baselines/failures\.json"),
    *(rf"(?:runs|checkpoints)/{_RUN}/.+", "tune/.+", r"evaluations/[^/]+/[^/]+\.(?:csv|json|png|parquet|html)"),
)
_PART = re.compile(r"((?:.*/)?)\.([^/]+)\.[0-9a-f]{8}\.part")
_NAMES = re.compile("|".join(_OURS))


def is_ours(path: str) -> bool:
    """Return whether genrescale writes a file of this name below a store, or it is the unfinished part of one."""
    return _NAMES.fullmatch(path) is not None or is_part(path)


def is_part(path: str) -> bool:
    """Return whether this is the unfinished part of such a file, which a killed job leaves behind."""
    found = _PART.fullmatch(path)
    return found is not None and _NAMES.fullmatch(found[1] + found[2]) is not None
