"""A stream as its consumer sees it: the plan's order insisted on, waiting and reading counted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Generic, TypeVar

from genrescale.data.reading.plan import GroupId
from genrescale.data.reading.source import CropGroup
from genrescale.data.reading.spans import ReadStats
from genrescale.telemetry.metric_table import WAIT_CAUSES
from genrescale.telemetry.stream_stats import StreamStats

Group = TypeVar("Group", bound=CropGroup)


class TimedGroups(Generic[Group]):
    """The stream as the loop sees it: groups in the plan's order, and what they took (``stats``)."""

    def __init__(self, groups: Iterator[Group], stats: StreamStats | None = None) -> None:
        self._groups = groups
        self.stats = stats or StreamStats()
        self.wait_s_by_cause = dict.fromkeys(WAIT_CAUSES, 0.0)

    def take(self, expected: GroupId) -> Group:
        """Raises RuntimeError if the stream's next group is another than the plan's."""
        started = time.perf_counter()
        group = next(self._groups, None)
        waited_s = time.perf_counter() - started
        self.stats.wait_s += waited_s
        if group is None or group.id != expected:
            raise RuntimeError(f"the plan's next group is {expected}, the stream delivered {group and group.id}")
        self._count(group)
        for cause, seconds in wait_causes(waited_s, time.time(), group.ready_at, group.read).items():
            self.wait_s_by_cause[cause] += seconds
        return group

    def _count(self, group: Group) -> None:
        self.stats.groups += 1
        self.stats.clips += len(group)
        self.stats.bytes_delivered += group.wave_nT.nbytes
        for name, value in asdict(group.read).items():
            setattr(self.stats, name, getattr(self.stats, name) + value)
        if group.ready_at:
            self.stats.ready_s += max(0.0, time.time() - group.ready_at)  # two nodes' clocks may disagree


def wait_causes(waited_s: float, now_s: float, ready_at: float, read: ReadStats) -> dict[str, float]:
    """What a wait for a group that ended at ``now_s`` was spent on, in seconds by cause.

    Until the group was read (``ready_at``), on the stages of reading it, in proportion to what they took; after that,
    on its way through the object store. Songs were decoded when they were sharded, so decoding is none of the causes.
    """
    reading_s = waited_s if not ready_at else min(waited_s, max(0.0, ready_at - (now_s - waited_s)))
    stages = {"storage": read.fetch_s, "verify": read.verify_s, "copy": read.copy_s}
    took_s = sum(stages.values())
    if not took_s:
        return {"storage": reading_s, "object_store": waited_s - reading_s}
    shares = {cause: reading_s * stage_s / took_s for cause, stage_s in stages.items()}
    return {**shares, "object_store": waited_s - reading_s}
