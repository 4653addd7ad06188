"""Plans: the crops of every group of every step of a run. Pure functions without audio or Ray.

A plan depends only on the seed, the songs' lengths and the run's science. So any worker can compute any part of it, a
run can resume at any step, and the same run on 1, 2 or 8 workers sees the same groups.

Conventions: N songs with lengths in samples ``len_N``, in nested order; a song is identified by its row there. A
*group* is the unit of work: one worker processes the whole group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from genrescale.audio import Split
from genrescale.config.data import parse_scoring
from genrescale.data.reading.samplers import Sampler, Uniform

SCORE_GROUP = 32  # windows in a scoring group: limits memory, does not affect scores


@dataclass(frozen=True)
class GroupId:
    """The address of a group. ``group`` is its index within ``step``, or within the pass when scoring."""

    kind: Split
    step: int
    group: int


@dataclass(frozen=True)
class Crops:
    """The crops of one group: the song's row and the first sample of each clip."""

    id: GroupId
    songs_n: np.ndarray
    starts_n: np.ndarray

    def __len__(self) -> int:
        return len(self.songs_n)


def group_bounds(num_clips: int, group: int) -> list[tuple[int, int]]:
    """Split ``num_clips`` into groups of ``group``, as half-open ranges. A single last clip joins the group before it.

    The reason is batch norm, which needs two clips. Raises ValueError if there is only one clip.
    """
    if num_clips < 2:
        raise ValueError(f"a step of {num_clips} clip cannot be trained on: batch norm needs two; use size >= 2")
    starts = list(range(0, num_clips, group))
    if num_clips - starts[-1] == 1 and len(starts) > 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], num_clips], strict=True))


@dataclass(frozen=True, eq=False)
class TrainPlan:
    """The training steps of a run: songs in the sampler's order, with random crops drawn from (seed, epoch)."""

    len_N: np.ndarray
    seed: int
    batch: int
    group: int
    crop_len: int
    sampler: Sampler

    def __post_init__(self) -> None:
        if len(self.len_N) < 2:
            raise ValueError(f"training needs at least 2 songs; the plan has {len(self.len_N)}")

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches in an epoch. A last batch of a single clip joins the step before it."""
        steps, rest = divmod(self.sampler.num_entries, self.batch)
        return steps + (rest > 1 or steps == 0)

    def step_bounds(self, step: int) -> tuple[int, int]:
        """Return the range of the epoch's order that ``step`` (counted over the run) trains on."""
        index = step % self.steps_per_epoch
        low = index * self.batch
        last = index == self.steps_per_epoch - 1
        return low, self.sampler.num_entries if last else low + self.batch

    def num_clips(self, step: int) -> int:
        low, high = self.step_bounds(step)
        return high - low

    def num_groups(self, step: int) -> int:
        return len(group_bounds(self.num_clips(step), self.group))

    def epoch(self, step: int) -> int:
        return step // self.steps_per_epoch

    def crops(self, step: int, group: int) -> Crops:
        """Return the crops of one group of one step."""
        order_E, starts_E = _epoch_draw(self, self.epoch(step))
        low, high = self.step_bounds(step)
        first, last = group_bounds(high - low, self.group)[group]
        entries = slice(low + first, low + last)
        return Crops(GroupId("train", step, group), order_E[entries], starts_E[entries])


@lru_cache(maxsize=2)
def _epoch_draw(plan: TrainPlan, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the song and the first sample of the crop of each entry of an epoch. Cached: once per process."""
    rng = np.random.default_rng([plan.seed, epoch])
    order_E = plan.sampler.draw(rng)
    room_N = np.maximum(plan.len_N - plan.crop_len, 0)
    if isinstance(plan.sampler, Uniform):  # drawn in song order: keeps the crops of earlier releases
        return order_E, rng.integers(0, room_N + 1)[order_E]
    return order_E, rng.integers(0, room_N[order_E] + 1)


@dataclass(frozen=True, eq=False)
class ScorePlan:
    """The scoring windows of every song, in groups that never divide a song, so that one worker averages its windows.

    ``consecutive`` windows are adjacent from the song's start; an incomplete last one is dropped (Pons 2018, section 4:
    a moving window of the crop's length). ``spread:N`` are N evenly spaced windows from sample 0 (Won 2020). A song
    shorter than the window has one window, zero-padded.
    """

    len_N: np.ndarray
    crop_len: int
    scoring: str
    kind: Split = "test"

    @property
    def num_groups(self) -> int:
        return len(_windows(self).song_bounds)

    @property
    def num_windows(self) -> int:
        return int(_windows(self).count_N.sum())

    def songs(self, group: int) -> range:
        """Return the songs of a group."""
        return range(*_windows(self).song_bounds[group])

    def group_windows(self, group: int) -> int:
        """Return the number of windows in a group."""
        songs = self.songs(group)
        return int(_windows(self).count_N[songs.start : songs.stop].sum())

    def crops(self, step: int, group: int) -> Crops:
        """Return the windows of the songs of one group."""
        count_N, hop_N = _windows(self).count_N, _windows(self).hop_N
        songs = self.songs(group)
        songs_n = np.repeat(np.arange(songs.start, songs.stop), count_N[songs.start : songs.stop])
        starts_n = np.concatenate([np.arange(count_N[song]) * hop_N[song] for song in songs])
        return Crops(GroupId(self.kind, step, group), songs_n, starts_n)


@dataclass(frozen=True)
class _Windows:
    count_N: np.ndarray
    hop_N: np.ndarray
    song_bounds: list[tuple[int, int]]


@lru_cache(maxsize=4)
def _windows(plan: ScorePlan) -> _Windows:
    """Compute windows per song, their hop, and the groups: as many whole songs as fit into SCORE_GROUP windows."""
    spread = parse_scoring(plan.scoring)
    if spread is None:
        count_N = np.maximum(plan.len_N // plan.crop_len, 1)
        hop_N = np.full(len(plan.len_N), plan.crop_len)
    else:
        count_N = np.where(plan.len_N > plan.crop_len, spread, 1)
        hop_N = np.maximum(plan.len_N - plan.crop_len, 0) // spread
    bounds: list[tuple[int, int]] = []
    low, windows = 0, 0
    for song, count in enumerate(count_N.tolist()):
        if song > low and windows + count > SCORE_GROUP:
            bounds.append((low, song))
            low, windows = song, 0
        windows += count
    if low < len(count_N):
        bounds.append((low, len(count_N)))
    return _Windows(count_N, hop_N, bounds)


@dataclass(frozen=True, eq=False)
class RunPlan:
    """All reads of a run as one sequence: training steps, and a validation pass after every V of them.

    V is ``validate_every``. One sequence is one stream, so validation has no start-up cost and there is no gap between
    epochs.
    """

    train: TrainPlan
    validation: ScorePlan
    max_steps: int
    validate_every: int

    def validates_after(self, step: int) -> bool:
        return (step + 1) % self.validate_every == 0 or step + 1 == self.max_steps

    def items(self, rank: int, num_workers: int, start_step: int = 0) -> Iterator[GroupId]:
        """Yield the groups that worker ``rank`` of ``num_workers`` reads from ``start_step`` on, in order."""
        for step in range(start_step, self.max_steps):
            for group in range(rank, self.train.num_groups(step), num_workers):
                yield GroupId("train", step, group)
            if self.validates_after(step):
                yield from score_items(self.validation, rank, num_workers, step)

    def crops(self, id: GroupId) -> Crops:
        plan = self.train if id.kind == "train" else self.validation
        return plan.crops(id.step, id.group)


def score_items(plan: ScorePlan, rank: int, num_workers: int, step: int = 0) -> Iterator[GroupId]:
    """Yield the groups of one scoring pass that worker ``rank`` of ``num_workers`` reads."""
    for group in range(rank, plan.num_groups, num_workers):
        yield GroupId(plan.kind, step, group)


def check_workers(batch: int, group: int, num_workers: int) -> None:
    """Raise ValueError if some worker would never have a group to train on."""
    groups = batch // group
    if num_workers > groups:
        raise ValueError(
            f"batch={batch} in groups of {group} clips gives {groups} group(s) per step, too few for {num_workers} "
            f"workers; use workers <= {groups}, a larger batch or a smaller group"
        )
