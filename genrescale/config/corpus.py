"""How a corpus comes about: songs that are synthesised, columns of a table of songs, and the shards made of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

SHARD_MB = 256
"""Megabytes of a shard where ``songs_per_shard`` is left open."""


@dataclass
class SynthesisConfig:
    """Settings of the synthetic corpus: ``songs`` songs of ``min_s`` to ``max_s`` seconds, drawn from ``seed``."""

    songs: int = 1000
    seed: int = 0
    min_s: float = 3.5
    max_s: float = 8.0

    def __post_init__(self) -> None:
        if self.songs < 1:
            raise ValueError(f"songs={self.songs} must be at least 1")
        if not 0 < self.min_s <= self.max_s:
            raise ValueError(f"min_s={self.min_s} and max_s={self.max_s} must satisfy 0 < min_s <= max_s")


@dataclass
class TableColumns:
    """The names of a table's columns."""

    path: str = "path"
    labels: str = "labels"
    artist: str = "artist"
    split: str = "split"
    group: str = "group"

    def renamed(self) -> dict[str, str]:
        """The ``columns`` argument of ``list_songs``. A renamed column must exist, even an optional one."""
        return {name: column for name, column in asdict(self).items() if column != name}


@dataclass
class ShardSettings:
    """Settings of sharding.

    Without official splits, ``val_fraction`` and ``test_fraction`` of the songs are held out. ``songs_per_shard`` 0
    makes shards of about SHARD_MB, estimated from a sample of songs. ``max_s`` keeps the middle of longer songs (0:
    whole songs); songs shorter than ``min_s`` are quarantined. The job stops if more than ``max_failure_rate`` of the
    songs and rejected rows are quarantined; up to MIN_FAILURES are always allowed, unless the rate is 0. Songs by URL
    must come from public web servers, unless ``allow_internal_urls`` is set.
    """

    val_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 0
    songs_per_shard: int = 0
    max_s: float = 0.0
    min_s: float = 1.0
    max_failure_rate: float = 0.01
    allow_internal_urls: bool = False

    def __post_init__(self) -> None:
        for name in ("val_fraction", "test_fraction", "max_failure_rate"):
            if not 0.0 <= (value := getattr(self, name)) <= 1.0:
                raise ValueError(f"{name}={value} must be from 0 to 1")
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError(
                f"val_fraction={self.val_fraction} and test_fraction={self.test_fraction} leave no song to train on"
            )
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must not be negative")
        if self.songs_per_shard < 0:
            raise ValueError(f"songs_per_shard={self.songs_per_shard} must be at least 1, or 0 for {SHARD_MB} MB")
        if not self.min_s >= 0.0:
            raise ValueError(f"min_s={self.min_s} must not be negative")
        if self.max_s != 0 and not self.max_s >= max(self.min_s, 1e-3):
            raise ValueError(f"max_s={self.max_s} must be 0 (whole songs) or at least min_s={self.min_s}")

    def of_plan(self) -> dict[str, float]:
        """Return the settings that determine the content of the shards, not what may fail or where songs come from."""
        names = {field.name for field in fields(ShardSettings)} - {"max_failure_rate", "allow_internal_urls"}
        return {name: value for name, value in asdict(self).items() if name in names}
