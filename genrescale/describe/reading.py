"""Read what the page needs from the shards: the loudness of a sample of songs, and some clips of each tag. No Ray.

The manifest and a seed determine which songs are read. Each shard's songs are one request, and its result is a pure
function of the shard's bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genrescale.audio import PCM_DTYPE, PCM_SCALE, SAMPLE_BYTES, seconds_to_len
from genrescale.data.manifest import Manifest
from genrescale.storage.store import Store

MAX_CLIP_S = 180.0
"""Limit on the total duration of a page's clips: with their images they stay below 10 MB, even for noise."""
CLIPPED_PEAK = 32_767
_SILENCE_DB = -120.0
_END_SHARE = 0.05


@dataclass(frozen=True)
class DescribeSettings:
    """Settings of the page: loudness is measured on ``loudness_songs`` songs.

    There are ``clips`` clips of ``clip_s`` seconds for each of the ``labels`` most common tags. Raises ValueError for
    negative counts, clips shorter than 0.1 s, and more than MAX_CLIP_S seconds of clips.
    """

    seed: int = 0
    loudness_songs: int = 400
    labels: int = 30
    clips: int = 2
    clip_s: float = 3.0

    def __post_init__(self) -> None:
        for name in ("seed", "loudness_songs", "labels", "clips"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        if not self.clip_s >= 0.1:
            raise ValueError(f"clip_s={self.clip_s} must be at least 0.1 seconds")
        if (total := self.labels * self.clips * self.clip_s) > MAX_CLIP_S:
            raise ValueError(
                f"labels={self.labels} x clips={self.clips} x clip_s={self.clip_s:g} are {total:g} s of audio; a page "
                f"may have at most {MAX_CLIP_S:g} s"
            )


@dataclass(frozen=True)
class ClipChoice:
    """A song (row of the manifest) chosen as an example of a tag (index in the vocabulary)."""

    tag: int
    row: int


@dataclass(frozen=True)
class SongRead:
    """A song to read: its row in the manifest, its byte range in the shard, and its CRC-32."""

    row: int
    offset: int
    num_samples: int
    crc32: int


@dataclass(frozen=True)
class ShardRead:
    """The songs to read from one shard; for those in ``clip_rows``, the middle ``clip_len`` samples are kept."""

    store: Store
    name: str
    songs: tuple[SongRead, ...]
    clip_rows: frozenset[int]
    clip_len: int


@dataclass(frozen=True, eq=False)
class HeardSong:
    """Levels of a song in dBFS (a full-scale square wave has an RMS of 0, a full-scale sine of -3).

    ``clipped`` is the share of samples at full scale. ``clip_T`` is the int16 clip if one was requested, else None.
    """

    row: int
    rms_db: float
    peak_db: float
    clipped: float
    clip_T: np.ndarray | None


@dataclass(frozen=True)
class ShardHeard:
    """The result for one shard. ``damaged`` are rows whose bytes do not match the manifest; they are not measured."""

    songs: list[HeardSong]
    damaged: list[int]


def choose_loudness(manifest: Manifest, settings: DescribeSettings) -> list[int]:
    """Choose the rows of a seeded sample of all songs, in ascending order."""
    count = min(settings.loudness_songs, len(manifest))
    return sorted(np.random.default_rng(settings.seed).choice(len(manifest), count, replace=False).tolist())


def choose_clips(manifest: Manifest, settings: DescribeSettings) -> list[ClipChoice]:
    """Choose seeded example songs for the most common tags, in the vocabulary's order.

    If possible, a song is the example of one tag only. A regress tag gets songs from its lowest and highest 5 %, in
    turn.
    """
    rng = np.random.default_rng(settings.seed)
    commonest = np.argsort(-(manifest.labels_NK > 0).sum(axis=0), kind="stable")[: settings.labels]
    taken: set[int] = set()
    choices = []
    for tag in sorted(commonest.tolist()):
        for candidates in _candidates(manifest, tag, settings.clips):
            fresh = [row for row in rng.permutation(candidates).tolist() if row not in taken] or candidates.tolist()
            if fresh and ClipChoice(tag, fresh[0]) not in choices:
                taken.add(fresh[0])
                choices.append(ClipChoice(tag, fresh[0]))
    return choices


def _candidates(manifest: Manifest, tag: int, clips: int) -> Iterator[np.ndarray]:
    """Yield, for each clip, the rows that it may come from."""
    values = manifest.labels_NK[:, tag]
    if manifest.vocabulary.tags[tag].kind == "classify":
        yield from [np.flatnonzero(values)] * clips
        return
    order = np.argsort(values, kind="stable")
    count = max(1, int(_END_SHARE * len(order)))
    for i in range(clips):
        yield order[-count:] if i % 2 else order[:count]


def plan_reads(
    manifest: Manifest, loudness: list[int], clips: list[ClipChoice], settings: DescribeSettings
) -> list[ShardRead]:
    """Make one request for each shard that holds a chosen song."""
    clip_rows = {choice.row for choice in clips}
    columns = {name: manifest.column(name) for name in ("shard", "offset", "num_samples", "crc32")}
    songs: dict[int, list[SongRead]] = {}
    for row in sorted(clip_rows | set(loudness)):
        place = [int(columns[name][row]) for name in ("offset", "num_samples", "crc32")]
        songs.setdefault(int(columns["shard"][row]), []).append(SongRead(row, *place))
    store, length = Store(manifest.uri), seconds_to_len(settings.clip_s)
    return [
        ShardRead(store, manifest.shard_name(shard), tuple(s), frozenset(clip_rows & {song.row for song in s}), length)
        for shard, s in sorted(songs.items())
    ]


def hear_shard(request: ShardRead) -> ShardHeard:
    """Measure the requested songs of one shard. If the shard is missing, all of its songs count as damaged."""
    heard, damaged = [], []
    for song in request.songs:
        try:
            data = request.store.read_range(request.name, song.offset, song.num_samples * SAMPLE_BYTES)
        except FileNotFoundError:
            data = b""
        if zlib.crc32(data) != song.crc32 or not data:
            damaged.append(song.row)
            continue
        pcm_T = np.frombuffer(data, PCM_DTYPE)
        heard.append(_measured(song.row, pcm_T, request.clip_len if song.row in request.clip_rows else 0))
    return ShardHeard(heard, damaged)


def _measured(row: int, pcm_T: np.ndarray, clip_len: int) -> HeardSong:
    wave_T = pcm_T.astype(np.float64) * PCM_SCALE
    level_T = np.abs(pcm_T.astype(np.int32))
    start = max(0, (len(pcm_T) - clip_len) // 2)
    return HeardSong(
        row=row,
        rms_db=_decibels(float(np.sqrt(np.mean(wave_T**2)))),
        peak_db=_decibels(float(level_T.max()) * PCM_SCALE),
        clipped=float(np.mean(level_T >= CLIPPED_PEAK)),
        clip_T=pcm_T[start : start + clip_len].copy() if clip_len else None,
    )


def _decibels(amplitude: float) -> float:
    return max(_SILENCE_DB, 20 * float(np.log10(max(amplitude, 1e-12))))
